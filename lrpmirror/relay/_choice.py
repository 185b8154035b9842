"""The client for a URL of a BBS or of a relay."""

from collections.abc import Callable

from lrpmirror.client import TLS, BBSClient
from lrpmirror.relay._address import is_relay
from lrpmirror.relay._reader import RelayClient

Client = BBSClient | RelayClient
"""A client that reads the state of a BBS."""


def client_at(url: str, *, tls: TLS | None = None, tap: Callable[[str, bytes], None] | None = None) -> Client:
    """Return a client, to be entered. Raises ConfigurationError for a URL or file that cannot be used."""
    return RelayClient(url, tls=tls, tap=tap) if is_relay(url) else BBSClient(url, tls=tls, tap=tap)
