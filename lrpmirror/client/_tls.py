"""Mutual TLS from files, checked when it is configured rather than when the first connection fails."""

import ssl
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path

from msgspec import Struct

from lrpmirror.client._x509 import validity
from lrpmirror.errors import ConfigurationError

_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"


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
    """Read the files, all three, and build the context of a server that demands certificates, as a BBS does.

    TLS 1.2 or newer. Raises ConfigurationError as `load` does.
    """
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
