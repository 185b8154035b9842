"""Certificates for a trial: the server's and the client's, good ones and expired ones, as files and as contexts."""

import ssl
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from msgspec import Struct

from lrpmirror.client import TLS
from lrpmirror.errors import ConfigurationError
from lrpmirror.server.hosting import mutual_tls
from simulation.network import HOST

__all__ = ["Certificates"]

FIRST: Final = datetime(2020, 1, 1, tzinfo=UTC)
LAST: Final = datetime(2021, 1, 1, tzinfo=UTC)
"""The validity period of the expired ones."""


class _Issued(Struct, frozen=True):
    """The certificates of an authority, made once for all trials of a process: each a certificate and its key, PEM."""

    authority: bytes
    server: bytes
    expired_server: bytes
    clients: tuple[bytes, bytes]
    expired_client: bytes


@cache
def _issued() -> _Issued:
    try:
        # Only trials with TLS need it, and only tests install it.
        import trustme  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError("trials with TLS make certificates with trustme: install lrpmirror[test]") from error

    # What RSA signs is as long each time, so a plan cuts a connection at the same byte again.
    kind = trustme.KeyType.RSA
    authority = trustme.CA(key_type=kind)

    def issue(name: str, *, expired: bool = False) -> bytes:
        first, last = (FIRST, LAST) if expired else (None, None)
        leaf = authority.issue_cert(name, key_type=kind, not_before=first, not_after=last)
        return leaf.private_key_and_cert_chain_pem.bytes()

    return _Issued(
        authority.cert_pem.bytes(),
        issue(HOST),
        issue(HOST, expired=True),
        (issue("client"), issue("client")),
        issue("client", expired=True),
    )


class Certificates:
    """The files of one trial, in a folder of its own, and the server's context, whose certificate can be exchanged."""

    def __init__(self, folder: Path) -> None:
        issued = _issued()
        self._server = folder / "server.pem"
        self._expired_server = folder / "expired-server.pem"
        self._client = folder / "client.pem"
        self._used = 0
        ca = folder / "ca.pem"
        ca.write_bytes(issued.authority)
        self._server.write_bytes(issued.server)
        self._expired_server.write_bytes(issued.expired_server)
        self._client.write_bytes(issued.clients[0])
        self.server: ssl.SSLContext = mutual_tls(ca=ca, cert=self._server, key=self._server)
        self.client = TLS(ca=ca, cert=self._client, key=self._client)

    def show(self, *, expired: bool) -> None:
        """Let the server use an expired certificate, or a good one, for new connections from now on."""
        cert = self._expired_server if expired else self._server
        self.server.load_cert_chain(cert, cert)

    def renew(self) -> None:
        """Replace the client's certificate on the disk, as a deployment does."""
        self._used = 1 - self._used
        self._put(_issued().clients[self._used])

    def expire(self) -> None:
        """Replace the client's certificate on the disk by one that has expired, as a deployment should not do."""
        self._put(_issued().expired_client)

    def spoil(self) -> None:
        """Leave the client's certificate half written."""
        self._put(_issued().clients[self._used][:1000])

    def _put(self, pem: bytes) -> None:
        beside = self._client.with_suffix(".new")
        beside.write_bytes(pem)
        beside.replace(self._client)
