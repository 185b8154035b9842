"""The TLS files of a client, or of a server, taken up again when they are replaced on disk.

A renewal replaces two or three files, one after the other. So they are checked before each connection, and a new set is
used once it is whole and valid; the old one serves until then.
"""

import hashlib
import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lrpmirror.client._tls import TLS, LoadedTLS, authorities_problem, certificate_problem, load
from lrpmirror.errors import ConfigurationError, without_frames

logger = logging.getLogger("lrpmirror")

_SETTLED: Final = 2 * 10**9
"""Nanoseconds after which another write of a file changes its modification time, on any file system."""

_Mark = tuple[int, int, int] | None


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
        self.changes = 0
        """How many times a new set has been taken up."""
        self.problem: ConfigurationError | None = None
        """Why the present files are not in use; None when they are."""
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
        self._take_up(loaded, digest)

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

    def _take_up(self, loaded: LoadedTLS, digest: str) -> None:
        self._loaded = loaded
        self._digest = digest
        self.problem, self._logged = None, ""
        self.changes += 1
        logger.info("new TLS files are taken up: %s", ", ".join(map(str, self._paths)))

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
