"""Certificates for tests: an authority, what it issues, and the files that they are in."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import trustme
from msgspec import Struct

from lrpmirror.client import TLS

EXPIRED = datetime(2001, 1, 1, tzinfo=UTC)


class Files(Struct, frozen=True):
    """An authority and what it issued, as files."""

    authority: trustme.CA
    ca: Path
    cert: Path
    key: Path

    @property
    def tls(self) -> TLS:
        return TLS(ca=self.ca, cert=self.cert, key=self.key)

    def server(self, *, client_ca: Path | None = None, expired: bool = False) -> ssl.SSLContext:
        """Return the context of a server that wants a certificate of the client."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        end = EXPIRED if expired else None
        self.authority.issue_cert("localhost", not_after=end).configure_cert(context)
        context.load_verify_locations(client_ca or self.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def issue(folder: Path, *, not_before: datetime | None = None, not_after: datetime | None = None) -> Files:
    authority = trustme.CA()
    leaf = authority.issue_cert("client", not_before=not_before, not_after=not_after)
    folder.mkdir()
    ca, cert, key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
    authority.cert_pem.write_to_path(ca)
    key.write_bytes(leaf.private_key_pem.bytes())
    cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    return Files(authority, ca, cert, key)
