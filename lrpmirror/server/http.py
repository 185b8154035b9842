"""HTTP/1.1 on trio for an ASGI application: one connection, its requests and replies.

General ASGI servers shield their writes from cancellation, so that a client that has stopped reading can neither be
dropped nor outlived. A BBS drops such readers. Here every wait can be cancelled, and an event stream is chunked to
the letter as a BBS does.
"""

from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

import h11
import trio

from lrpmirror.server.asgi import CHUNKS, ASGIApp, Message
from lrpmirror.server.handshake import shake_hands

__all__ = ["Connection", "Gate", "Stream"]

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
"""A connection, plain or with TLS."""

READ: Final = 65536
"""How much is read at once, and how much a client may send ahead while it is being answered."""

HANDSHAKE_TIMEOUT: Final = 10.0
"""How long a client may take for the TLS handshake, in seconds."""


class Gate:
    """Lets tasks pass, or holds them all until it is opened again."""

    def __init__(self) -> None:
        self._opened = trio.Event()
        self._opened.set()

    def open(self) -> None:
        """Let everybody pass."""
        self._opened.set()

    def close(self) -> None:
        """Hold whoever comes from now on."""
        if self._opened.is_set():
            self._opened = trio.Event()

    async def wait(self) -> None:
        """Pass, now or when the gate opens."""
        await self._opened.wait()


_OF_THE_CLIENT: Final = (h11.RemoteProtocolError, trio.BrokenResourceError, trio.TooSlowError)
"""What goes wrong on a connection by the client's doing."""


class Connection:
    """One connection of a client, from its handshake to its end. Cancelling `scope` cuts it, whatever it is doing."""

    def __init__(self, app: ASGIApp, stream: Stream, gate: Gate, failures: list[Exception]) -> None:
        self.scope = trio.CancelScope()
        self._failures = failures
        self._app = app
        self._stream = stream
        self._gate = gate
        self._http = h11.Connection(h11.SERVER)
        self._exchange: _Exchange | None = None

    @property
    def streaming(self) -> bool:
        """Whether an event stream is being sent."""
        return self._exchange is not None and self._exchange.is_event_stream

    async def run(self) -> None:
        """Serve one request after the other until the client leaves or breaks the protocol, or `scope` ends it."""
        with self.scope:
            try:
                await self._handshake()
                while await self._serve_one():
                    self._http.start_next_cycle()
            except* _OF_THE_CLIENT:
                # It is gone, or will be when it finds the connection closed.
                pass
            finally:
                await trio.aclose_forcefully(self._stream)

    async def _handshake(self) -> None:
        if isinstance(self._stream, trio.SSLStream):
            with trio.fail_after(HANDSHAKE_TIMEOUT):
                await shake_hands(self._stream)

    async def _serve_one(self) -> bool:
        """Serve the next request; return whether another one may follow."""
        try:
            request = await self.next_event()
        except h11.RemoteProtocolError:
            await self._refuse()
            return False
        if not isinstance(request, h11.Request):
            return False
        self._exchange = _Exchange(self, request)
        try:
            await self._app(self._exchange.scope, self._exchange.receive, self._exchange.send)
        except Exception as error:
            # Noted before the client can see the connection close: what it does then can end the server, and with it
            # the way that this takes.
            self._failures.extend(_not_of_the_client(error))
            raise
        finally:
            self._exchange = None
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _refuse(self) -> None:
        headers = [("Connection", "close"), ("Content-Length", "0")]
        head = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        await self.write(head, h11.EndOfMessage())

    async def next_event(self) -> Any:
        """Return the next h11 event from the client, reading as much as it takes."""
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                await self.write(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(bytes(await self._stream.receive_some(READ)))

    async def wait_for_end(self) -> None:
        """Return when the client has left, or sends more ahead than a client may."""
        ahead = 0
        while ahead <= READ:
            data = await self._stream.receive_some(READ)
            self._http.receive_data(bytes(data))
            if not data:
                return
            ahead += len(data)

    async def write(self, *events: Any, chunk_mark: bytes = b"") -> None:
        """Send these h11 events in one write; `chunk_mark` is put behind the size of each chunk."""
        pieces: list[bytes] = []
        for event in events:
            made = self._http.send_with_data_passthrough(event) or []
            if chunk_mark and isinstance(event, h11.Data):
                made[0] = made[0].replace(b"\r\n", chunk_mark + b"\r\n")
            pieces += made
        await self._gate.wait()
        await self._stream.send_all(b"".join(pieces))


class _Exchange:
    """One request and its reply, as ASGI has them."""

    def __init__(self, connection: Connection, request: h11.Request) -> None:
        self._connection = connection
        self._asked_all = False
        self._head: h11.Response | None = None
        self.is_event_stream = False
        path, _, query = request.target.partition(b"?")
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version.decode("ascii"),
            "method": request.method.decode("ascii"),
            "scheme": "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "extensions": {CHUNKS: {}},
            "headers": [(name, value) for name, value in request.headers],
        }

    async def receive(self) -> Message:
        """Return the next part of the request's body; after its end, that the client has left, when it has."""
        if self._asked_all:
            await self._connection.wait_for_end()
            return {"type": "http.disconnect"}
        event = await self._connection.next_event()
        if isinstance(event, h11.Data):
            return {"type": "http.request", "body": bytes(event.data), "more_body": True}
        # Nothing else but its end: a client that leaves in the middle breaks the protocol, which h11 raises.
        self._asked_all = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        """Send the head, with the first part of the body; then the other parts, each as it comes."""
        if message["type"] == "http.response.start":
            self._head = self._make_head(message)
            return
        events: list[Any] = []
        if self._head is not None:
            events.append(self._head)
            self._head = None
        events += [h11.Data(data=chunk) for chunk in message.get("chunks") or [message.get("body")] if chunk]
        if not message.get("more_body", False):
            await self._read_rest()
            events.append(h11.EndOfMessage())
        await self._connection.write(*events, chunk_mark=b";" if self.is_event_stream else b"")

    def _make_head(self, message: Message) -> h11.Response:
        headers = [*message.get("headers", ()), (b"date", formatdate(usegmt=True).encode("ascii"))]
        self.is_event_stream = any(
            name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers
        )
        named = sorted((name.title(), value) for name, value in headers)
        status = HTTPStatus(message["status"])
        return h11.Response(status_code=status, headers=named, reason=status.phrase.encode("ascii"))

    async def _read_rest(self) -> None:
        """Read what the application did not want of the request, so that the next one can follow."""
        while not self._asked_all:
            await self.receive()


def _not_of_the_client(error: Exception) -> list[Exception]:
    """Return what is left of an error, which can be a group, without what the client has done."""
    group = error if isinstance(error, ExceptionGroup) else ExceptionGroup("", [error])
    _, rest = group.split(_OF_THE_CLIENT)
    return [] if rest is None else [rest] if group is error else [error]
