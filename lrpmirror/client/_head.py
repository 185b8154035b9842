"""The head of a reply, read within its limits of size and time, whatever the server sends before it."""

import h11
import httpx
import trio

from lrpmirror.client._errors import shortened
from lrpmirror.client._options import Limits
from lrpmirror.client._pipe import Pipe
from lrpmirror.errors import LimitExceeded


async def read_head(pipe: Pipe, exchange: h11.Connection, limits: Limits, timeout: float) -> h11.Response:
    """Read the head, skipping interim replies; the bytes received after it are left to the exchange.

    Raises LimitExceeded, and httpx's ReadTimeout and RemoteProtocolError.
    """
    deadline = trio.current_time() + timeout
    received = interim = 0
    while True:
        try:
            event = exchange.next_event()
        except h11.RemoteProtocolError as exc:
            raise httpx.RemoteProtocolError(shortened(str(exc))) from exc
        if isinstance(event, h11.InformationalResponse):
            interim += 1
            if interim > limits.max_interim:
                raise LimitExceeded(f"over {limits.max_interim} interim replies before the reply (max_interim)")
            continue
        behind, _ = exchange.trailing_data
        head = received if event is h11.NEED_DATA else received - len(behind)
        if head > limits.max_head:
            raise LimitExceeded(f"the head of the reply is over {limits.max_head} bytes (max_head)")
        if isinstance(event, h11.Response):
            if len(event.headers) > limits.max_headers:
                raise LimitExceeded(f"the head of the reply has over {limits.max_headers} headers (max_headers)")
            return event
        data = await pipe.receive(max(0.0, deadline - trio.current_time()))
        if not data:
            raise httpx.RemoteProtocolError("the server closed the connection without a reply")
        exchange.receive_data(data)
        received += len(data)
