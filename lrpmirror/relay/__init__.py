"""The state of a BBS in Redis or Valkey: a publisher keeps it there, any number of mirrors read it.

`open_publisher` writes what a mirror has; `RelayClient` reads it as `BBSClient` reads a BBS, so that the mirror behind
it is the same as ever. `lrpmirror.relay._format` says which keys there are, and what is in them.
"""

from lrpmirror.relay._address import is_relay
from lrpmirror.relay._publisher import Publisher, PublisherStatus, open_publisher
from lrpmirror.relay._reader import Client, RelayClient, client_at

__all__ = ["Client", "Publisher", "PublisherStatus", "RelayClient", "client_at", "is_relay", "open_publisher"]
