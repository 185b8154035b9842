"""The server side of the BBS protocol, over anything that lists rows and hands out changes, and may take writes."""

from lrpmirror.server.app import BBSApp, Lag
from lrpmirror.server.hosting import Host, ServerTLS, mutual_tls, serve_app
from lrpmirror.server.limits import Limits, Traffic
from lrpmirror.server.lists import LISTS, PING, Source
from lrpmirror.server.streams import LIMIT, STREAMS, EncodedEvent, EncodedStatus, MirrorOnly, StreamKind, Subscription
from lrpmirror.server.writes import WRITES, InstanceKey, NetInfo, Writer

__all__ = [
    "LIMIT",
    "LISTS",
    "PING",
    "STREAMS",
    "WRITES",
    "BBSApp",
    "EncodedEvent",
    "EncodedStatus",
    "Host",
    "InstanceKey",
    "Lag",
    "Limits",
    "MirrorOnly",
    "NetInfo",
    "ServerTLS",
    "Source",
    "StreamKind",
    "Subscription",
    "Traffic",
    "Writer",
    "mutual_tls",
    "serve_app",
]
