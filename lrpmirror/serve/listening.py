"""The address to listen at and its TLS: one that others can reach is not served without mutual TLS by accident."""

import ipaddress
from urllib.parse import urlsplit

from msgspec import Struct

from lrpmirror.errors import ConfigurationError
from lrpmirror.server import ServerTLS
from lrpmirror.server.hosting import authority


class Address(Struct, frozen=True):
    """A host, by name or number, and a port; 0 for any free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it, as far as the text tells."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return authority(self.host, self.port)


def parse_address(text: str) -> Address:
    """Read HOST:PORT, [IPV6]:PORT, or :PORT for all of this machine's addresses; raise ConfigurationError."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if port is None or parts.path or parts.query or parts.fragment or parts.username is not None:
        raise ConfigurationError(f"{text!r} is no address to listen on: give HOST:PORT, such as 127.0.0.1:8889")
    return Address(host or "0.0.0.0", port)  # noqa: S104 - asked for by leaving the host out


def checked_tls(
    address: Address, *, ca: str | None, cert: str | None, key: str | None, insecure: bool
) -> ServerTLS | None:
    """Return the server's files for mutual TLS, or None for none.

    Raises ConfigurationError for files that cannot be used or are not all there, and, unless `insecure`, for an address
    that others can reach without TLS.
    """
    if ca and cert and key:
        return ServerTLS(ca=ca, cert=cert, key=key)
    if ca or cert or key:
        raise ConfigurationError(
            "mutual TLS needs three files: give --server-ca-file, --server-cert-file and --server-key-file"
        )
    if not (address.is_loopback or insecure):
        raise ConfigurationError(
            f"{address} can be reached by others, and without TLS anybody may read from it: give --server-ca-file, "
            "--server-cert-file and --server-key-file, listen on 127.0.0.1, or say --insecure-listen"
        )
    return None
