"""Mutual TLS from files, checked when it is configured, and taken up again when they are replaced on disk.

A renewal replaces two or three files, one after the other. So they are checked before each connection, and a new set is
used once it is whole and valid; the old one serves until then.
"""

import hashlib
import logging
import ssl
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Final

from msgspec import Struct

from lrpmirror.errors import ConfigurationError, without_frames

logger = logging.getLogger("lrpmirror")

_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"

_SETTLED: Final = 2 * 10**9  # ns after which another write changes a file's modification time, on any file system
_Mark = tuple[int, int, int] | None

_UTC_TIME = 0x17
_VERSION = 0xA0
_LONG_FORM = 0x80
_CENTURY_PIVOT = 50


class InsecureTLSWarning(UserWarning):
    """TLS is used without verification of the server: an attacker in between can read and change everything."""


class TLS(Struct, frozen=True):
    """The files of mutual TLS, all PEM.

    `ca`: the authorities to trust, instead of the system's. `cert`: this client's certificate (with its chain), and
    `key`: its private key, unencrypted; `key` may be left out when it is in the file of `cert`. `verify=False` is the
    only way to accept any server, and warns with InsecureTLSWarning when it is used.
    """

    ca: str | PathLike[str] | None = None
    cert: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None
    verify: bool = True


def warn_of_insecure_tls(stacklevel: int) -> None:
    """Warn that verification is off, at the `stacklevel`-th caller."""
    text = "TLS verification is off (verify=False): the server is not authenticated; give its authority as `ca`"
    warnings.warn(text, InsecureTLSWarning, stacklevel=stacklevel + 1)


class LoadedTLS(Struct, frozen=True, eq=False):
    """The loaded TLS files: the context made of them, and the certificates, as DER."""

    context: ssl.SSLContext
    own: bytes | None
    authorities: tuple[bytes, ...]


def load(tls: TLS) -> LoadedTLS:
    """Read the files and build the context for connections to a BBS: TLS 1.2 or newer, HTTP/1.1.

    Raises ConfigurationError, naming the file and what is wrong with it: missing, unreadable, of another kind,
    encrypted, expired, not yet valid, or a key of another certificate.
    """
    if tls.key is not None and tls.cert is None:
        raise ConfigurationError(f"TLS key {str(tls.key)!r} is given without a certificate: give `cert` too")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    authorities: list[bytes] = []
    own: bytes | None = None
    if tls.ca is not None:
        authorities = _trust(context, Path(tls.ca))
    elif tls.verify:
        context.load_default_certs()
    if tls.cert is not None:
        own = _identify(context, Path(tls.cert), None if tls.key is None else Path(tls.key))
    return LoadedTLS(context, own, tuple(authorities))


def load_server(tls: TLS) -> LoadedTLS:
    """Read the three files and build the context of a server that demands certificates; raises as `load` does."""
    if tls.ca is None or tls.cert is None or tls.key is None:
        raise ConfigurationError("mutual TLS needs three files: the clients' CA, the server's certificate and its key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    authorities = _trust(context, Path(tls.ca))
    own = _identify(context, Path(tls.cert), Path(tls.key))
    return LoadedTLS(context, own, tuple(authorities))


def _trust(context: ssl.SSLContext, ca: Path) -> list[bytes]:
    pem = _read(ca, "CA")
    try:
        context.load_verify_locations(cafile=ca)
    except (ssl.SSLError, OSError) as exc:
        raise ConfigurationError(f"TLS CA {str(ca)!r} holds no usable certificate in PEM form: {exc}") from exc
    authorities = _certificates(pem)
    problem = authorities_problem(authorities)
    if problem:
        raise ConfigurationError(f"TLS CA {str(ca)!r}: {problem}")
    return authorities


def _identify(context: ssl.SSLContext, cert: Path, key: Path | None) -> bytes:
    pem = _read(cert, "certificate")
    secret = _read(key, "key") if key else pem
    chain = _certificates(pem)
    if not chain:
        raise ConfigurationError(f"TLS certificate {str(cert)!r} holds no certificate in PEM form")
    if "PRIVATE KEY-----" not in secret:
        where = f"TLS key {str(key)!r} holds" if key else f"no TLS key is given, and {str(cert)!r} holds"
        raise ConfigurationError(f"{where} no private key in PEM form")

    def refuse() -> str:
        raise ConfigurationError(f"TLS key {str(key or cert)!r} is encrypted: give a key without a passphrase")

    try:
        context.load_cert_chain(cert, key, password=refuse)
    except (ssl.SSLError, OSError) as exc:
        reason = getattr(exc, "reason", None)
        if reason == "KEY_VALUES_MISMATCH":
            message = f"TLS key {str(key or cert)!r} does not belong to certificate {str(cert)!r}"
        else:
            message = f"TLS certificate {str(cert)!r} and key {str(key or cert)!r} cannot be used: {reason or exc}"
        raise ConfigurationError(message) from exc
    problem = certificate_problem(chain[0])
    if problem:
        raise ConfigurationError(f"TLS certificate {str(cert)!r}: {problem}")
    return chain[0]


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as exc:
        raise ConfigurationError(f"TLS {what} {str(path)!r} cannot be read: {exc.strerror or exc}") from exc


def _certificates(pem: str) -> list[bytes]:
    """Return the certificates of a PEM text as DER, without those that are not base64."""
    found: list[bytes] = []
    for part in pem.split(_BEGIN)[1:]:
        text, end, _ = part.partition(_END)
        try:
            found.append(ssl.PEM_cert_to_DER_cert(_BEGIN + text + end))
        except ValueError:
            continue
    return found


def authorities_problem(authorities: Sequence[bytes]) -> str:
    """Say why none of these can be used today; empty when one can, or when there are none."""
    problems = [certificate_problem(der) for der in authorities]
    return problems[0] if problems and all(problems) else ""


def certificate_problem(der: bytes) -> str:
    """Say why a certificate cannot be used today; empty when it can."""
    period = validity(der)
    if period is None:
        return ""
    now = _now()
    first, last = period
    if now > last:
        return f"the certificate has expired, on {last:%Y-%m-%d %H:%M} UTC: renew it"
    if now < first:
        return f"the certificate is not valid before {first:%Y-%m-%d %H:%M} UTC: check it, and this machine's clock"
    return ""


def _now() -> datetime:
    return datetime.now(UTC)


class Identity:
    """The trusted authorities and own certificate of one side of TLS: the newest whole and valid set of its files.

    `loader` builds the context, by default that of a client. Raises ConfigurationError where the files cannot be used
    at construction; later that is logged once for each state of the files and given to `refused`, and the set before
    goes on.
    """

    def __init__(
        self,
        tls: TLS,
        refused: Callable[[ConfigurationError], None] | None = None,
        *,
        loader: Callable[[TLS], LoadedTLS] | None = None,
    ) -> None:
        self._tls = tls
        self._loader = loader
        self._paths = tuple(Path(path) for path in (tls.ca, tls.cert, tls.key) if path is not None)
        self._refused = refused
        self.changes = 0  # how many times a new set has been taken up
        self.problem: ConfigurationError | None = None  # why the present files are not in use; None when they are
        self._logged = ""  # the state of the files, and the reason, that was logged last
        self._marks: tuple[_Mark, ...] | None = None  # None: they are to be read again whatever their marks
        self._digest = self._read()
        self._loaded = self._load()

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection. Cost: that of `check`."""
        self.check()
        return self._loaded.context

    def check(self) -> None:
        """Take up the files if they have changed. Cost: microseconds, and milliseconds where they have."""
        if self._marks is not None and self._marks == self._look():
            return
        digest = self._read()
        if digest == self._digest:
            self.problem, self._logged = None, ""
            return
        try:
            loaded = self._load()
        except ConfigurationError as exc:
            self._refuse(exc, digest)
            return
        if self._read() != digest:
            # They are being written this very moment: what was loaded may be of both. The next look will tell.
            self._marks = None
            return
        self._loaded, self._digest = loaded, digest
        self.problem, self._logged = None, ""
        self.changes += 1
        logger.info("new TLS files are taken up: %s", ", ".join(map(str, self._paths)))

    def own_problem(self) -> str:
        """Say what is wrong with the certificate in use, or with newer files; for a server that refuses it."""
        problem = certificate_problem(self._loaded.own) if self._loaded.own else ""
        return self._described(problem and f"TLS certificate {str(self._tls.cert)!r}: {problem}")

    def authority_problem(self) -> str:
        """Say what is wrong with the authorities in use, or with newer files; for a server that is not trusted."""
        problem = authorities_problem(self._loaded.authorities)
        return self._described(problem and f"TLS CA {str(self._tls.ca)!r}: {problem}")

    def _described(self, problem: str) -> str:
        newer = f"the files that are there now cannot be used: {self.problem}" if self.problem else ""
        return "; ".join(part for part in (problem, newer) if part)

    def _refuse(self, problem: ConfigurationError, digest: str) -> None:
        # What it passed through had the private key in its hands.
        self.problem = without_frames(problem)
        # Not only another file can mend it: a certificate can become valid, a folder accessible.
        self._marks = None
        state = f"{digest} {problem}"
        if state == self._logged:
            return
        self._logged = state
        logger.warning("the TLS files have changed and cannot be used; those before go on: %s", problem)
        if self._refused:
            self._refused(problem)

    def _load(self) -> LoadedTLS:
        return (self._loader or load)(self._tls)

    def _read(self) -> str:
        """Return a digest of the files' contents; an unreadable file counts as empty, and `load` reports why."""
        marks = self._look()
        digest = hashlib.sha256()
        for path in self._paths:
            try:
                data = path.read_bytes()
            except OSError:
                data = b""
            digest.update(hashlib.sha256(data).digest())
        now = time.time_ns()
        settled = all(mark is not None and abs(now - mark[0]) > _SETTLED for mark in marks)
        self._marks = marks if settled else None
        return digest.hexdigest()

    def _look(self) -> tuple[_Mark, ...]:
        return tuple(_mark(path) for path in self._paths)


def _mark(path: Path) -> _Mark:
    """Return a value that changes when a file is written or replaced."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def validity(der: bytes) -> tuple[datetime, datetime] | None:
    """Return the first and last moment of a certificate's validity; None where that cannot be read."""
    try:
        certificate, _ = _element(der, 0)[1:]
        body = _element(certificate, 0)[1]
        tag, _, after = _element(body, 0)
        position = after if tag == _VERSION else 0
        for _ in ("serial number", "signature algorithm", "issuer"):
            position = _element(body, position)[2]
        period = _element(body, position)[1]
        first_tag, first, after = _element(period, 0)
        last_tag, last, _ = _element(period, after)
        return _moment(first_tag, first), _moment(last_tag, last)
    except (IndexError, ValueError, OverflowError):
        return None


def _element(data: bytes, start: int) -> tuple[int, bytes, int]:
    """Return the tag and content of the DER element at `start`, and where the next one starts."""
    length = data[start + 1]
    content = start + 2
    if length & _LONG_FORM:
        size = length ^ _LONG_FORM
        length = int.from_bytes(data[content : content + size])
        content += size
    end = content + length
    if end > len(data):
        raise ValueError("cut short")
    return data[start], data[content:end], end


def _moment(tag: int, text: bytes) -> datetime:
    """Read a UTCTime (two-digit year) or GeneralizedTime, both of which RFC 5280 requires to be in seconds and UTC."""
    digits = text.decode("ascii")
    if tag == _UTC_TIME:
        digits = ("20" if int(digits[:2]) < _CENTURY_PIVOT else "19") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
