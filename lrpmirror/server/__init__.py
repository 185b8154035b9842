"""The server side of the BBS protocol, over anything that can list rows and hand out changes."""

from lrpmirror.server.app import BBSApp, Lag
from lrpmirror.server.hosting import Host, mutual_tls, serve_app
from lrpmirror.server.lists import LISTS, PING
from lrpmirror.server.source import Source
from lrpmirror.server.streams import STREAMS
from lrpmirror.server.subscription import LIMIT, StreamKind, Subscription

__all__ = [
    "LIMIT",
    "LISTS",
    "PING",
    "STREAMS",
    "BBSApp",
    "Host",
    "Lag",
    "Source",
    "StreamKind",
    "Subscription",
    "mutual_tls",
    "serve_app",
]
