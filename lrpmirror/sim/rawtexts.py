"""Texts with cut characters, as of a server that checks none: U+FFFD is sent as bytes that are not UTF-8."""

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Final

from google.protobuf.message import Message

from lrpmirror.server.asgi import ASGIApp, Receive, Scope, Send
from lrpmirror.server.asgi import Message as ASGIMessage
from lrpmirror.wire import text
from lrpmirror.wire.encode import EVENTS
from lrpmirror.wire.proto import requests_pb2

_MARK: Final = "\ufffd".encode()
_REST: Final = b"\xf0\x9f\x98"  # three bytes of a character that has four, which are read as one U+FFFD

_DATA: Final = re.compile(rb"event: ([^\n]*)\ndata: ([^\n]*)")

_REPLIES: Final[Mapping[str, type[Message]]] = {
    "/v1/domains/list": requests_pb2.DomainsResponse,
    "/v1/cells/list.r1": requests_pb2.CellsResponse,
    "/v1/actual_lrps/list": requests_pb2.ActualLRPsResponse,
    "/v1/actual_lrps/list_by_process_guids": requests_pb2.ActualLRPsByProcessGuidsResponse,
    "/v1/actual_lrp_groups/list": requests_pb2.ActualLRPGroupsResponse,
    "/v1/actual_lrp_groups/list_by_process_guid": requests_pb2.ActualLRPGroupsResponse,
    "/v1/actual_lrp_groups/get_by_process_guid_and_index": requests_pb2.ActualLRPGroupResponse,
    "/v1/desired_lrps/list.r3": requests_pb2.DesiredLRPsResponse,
    "/v1/desired_lrps/get_by_process_guid.r3": requests_pb2.DesiredLRPResponse,
    "/v1/desired_lrp_scheduling_infos/list": requests_pb2.DesiredLRPSchedulingInfosResponse,
    "/v1/desired_lrp_scheduling_infos/get_by_process_guid": (
        requests_pb2.DesiredLRPSchedulingInfoByProcessGuidResponse
    ),
    "/v1/desired_lrp_routing_infos/list": requests_pb2.DesiredLRPsResponse,
}
_EVENTS: Final = {kind.type.encode(): message for kind, message in EVENTS.items()}


class RawTexts:
    """An ASGI application around a BBSApp, with invalid UTF-8 of the same length where texts were cut.

    Each piece of a list's body has whole records, as the application sends them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reply = _REPLIES.get(scope.get("path", ""))

        async def send_raw(message: ASGIMessage) -> None:
            if reply is not None and _MARK in message.get("body", b""):
                message = {**message, "body": _raw(reply, message["body"])}
            elif reply is None and "chunks" in message:
                message = {**message, "chunks": [_DATA.sub(_raw_event, frame) for frame in message["chunks"]]}
            elif reply is None and b"\ndata: " in message.get("body", b""):
                message = {**message, "body": _DATA.sub(_raw_event, message["body"])}
            await send(message)

        await self._app(scope, receive, send_raw)


def _raw(kind: type[Message], message: bytes) -> bytes:
    return text.rewritten(kind, message, lambda _, one: one.replace(_MARK, _REST))


def _raw_event(frame: re.Match[bytes]) -> bytes:
    name, data = frame[1], b64decode(frame[2])
    if name not in _EVENTS or _MARK not in data:
        return frame[0]
    return b"event: %b\ndata: %b" % (name, b64encode(_raw(_EVENTS[name], data)))
