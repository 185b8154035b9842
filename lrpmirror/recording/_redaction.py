"""Removing secrets from recorded traffic: only what is known to hold none is kept.

Desired LRPs are encoded again from what the mirror decodes of them; events of unknown types keep only their name.
"""

from binascii import b2a_base64
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final, get_args

from msgspec.structs import replace

from lrpmirror import events
from lrpmirror.model import DesiredLRP
from lrpmirror.recording._reader import ListName
from lrpmirror.redaction import without_secrets
from lrpmirror.wire import decode, encode
from lrpmirror.wire.sse import Frame

_OTHERS: Final = (events.UnknownEvent, events.UnreadableEvent)
_KNOWN: Final = frozenset(kind.type for kind in get_args(events.Event) if kind not in _OTHERS)
_DESIRED: Final = frozenset(
    kind.type for kind in (events.DesiredLRPCreated, events.DesiredLRPChanged, events.DesiredLRPRemoved)
)


def _rewritten(decoder: Callable[[bytes], DesiredLRP], encoder: Callable[[DesiredLRP], bytes], record: bytes) -> bytes:
    return encoder(without_secrets(decoder(record)))


RECORDS: Final[Mapping[ListName, Callable[[bytes], bytes]]] = {
    "desired_lrps": partial(_rewritten, decode.desired_lrp, encode.desired_lrp),
    "desired_lrp_scheduling_infos": partial(_rewritten, decode.scheduling_info, encode.scheduling_info),
    "desired_lrp_routing_infos": partial(_rewritten, decode.desired_lrp, encode.routing_info),
}
"""How a record of each list that can hold secrets is written without them; raises MalformedRecord."""


def redacted(frames: Iterable[Frame]) -> bytes:
    """Return the bytes of events without secrets. Of an unknown or undecodable one only its name is left."""
    return b"".join(map(_redacted, frames))


def _redacted(frame: Frame) -> bytes:
    data = frame.data
    if frame.event in _DESIRED:
        event = decode.stream_event(frame.event, frame.data)
        fields = {name: getattr(event, name) for name in event.__struct_fields__}
        lrps = {name: without_secrets(field) for name, field in fields.items() if isinstance(field, DesiredLRP)}
        data = b2a_base64(encode.event(replace(event, **lrps)), newline=False)
    elif frame.event not in _KNOWN:
        data = b""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (frame.id.encode(), frame.event.encode(), data)
