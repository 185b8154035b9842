"""HTTP/1.1 on trio, by h11, for an ASGI application: one connection, its requests and replies.

Unlike in general ASGI servers every wait can be cancelled and is limited, also that for a client that has stopped
reading, and an event stream is chunked to the letter as by a BBS. What is raised meanwhile ends in `Connection.run`.
"""

from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from math import inf
from typing import Any, Final, cast

import h11
import trio

from lrpmirror.server.asgi import CHUNKS, OFFER, ASGIApp, Message
from lrpmirror.server.head import LONGEST, HeadCheck, Refusal, check_framing, split_target
from lrpmirror.server.limits import Admission
from lrpmirror.server.sockets import QuickWriter, shake_hands

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]  # A connection, plain or with TLS
READ: Final = 16384  # how much is read at once, and how much a client may send ahead while it is being answered
PARTS: Final = 64  # how many parts of a body are read without a checkpoint
LINGER: Final = 1.0  # seconds that a refused client may go on sending, so that it can read the refusal


class Gate:
    """Holds the tasks that wait for `opened`, while it is closed."""

    def __init__(self) -> None:
        self.opened = trio.Event()
        self.opened.set()

    def close(self) -> None:
        """Hold tasks that wait from now on."""
        if self.opened.is_set():
            self.opened = trio.Event()


# Errors of a connection that the client causes.
_OF_THE_CLIENT: Final = (h11.RemoteProtocolError, trio.BrokenResourceError, trio.ClosedResourceError)


class Connection:
    """One connection of a client, from its handshake to its end. Cancelling `scope` cuts it, whatever it is doing."""

    def __init__(self, app: ASGIApp, stream: Stream, gate: Gate, admission: Admission) -> None:
        self.scope = trio.CancelScope()
        self._app = app
        self._stream = stream
        self._quick = QuickWriter(stream)
        self._gate = gate
        self._admission = admission
        self._limits = admission.limits
        self.traffic = admission.traffic
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST)
        self._exchange: _Exchange | None = None
        self._served = False
        self._awaited = ""

    @property
    def streaming(self) -> bool:
        """Whether an event stream is being sent."""
        return self._exchange is not None and self._exchange.is_event_stream

    async def run(self) -> None:
        """Serve one request after the other until the client leaves or breaks the protocol, or `scope` ends it."""
        with self.scope:
            try:
                if isinstance(self._stream, trio.SSLStream):
                    self._wait_for("handshake", self._limits.handshake_timeout)
                    await shake_hands(self._stream)
                while await self._serve_one():
                    self._http.start_next_cycle()
                    self._served = True
            except* _OF_THE_CLIENT:
                # It is gone, or will be when it finds the connection closed.
                pass
            except* Exception as group:  # noqa: BLE001 - it ends here, whatever it is
                self.traffic.failed(_single(group), "a connection")
            finally:
                if self.scope.cancel_called and trio.current_time() >= self.scope.deadline:
                    self.traffic.timeouts[self._awaited] += 1
                self._admission.gone(self.scope)
                await trio.aclose_forcefully(self._stream)

    def _wait_for(self, what: str, seconds: float) -> None:
        """Set the client's time limit for a step, which begins where it is first waited for."""
        if self._awaited != what:
            self._awaited = what
            self.scope.deadline = trio.current_time() + seconds
            self._admission.waiting(self.scope, known=self._served)

    async def _serve_one(self) -> bool:
        """Serve the next request; return whether another one may follow."""
        try:
            request = await self._read_request()
            if request is None:
                return False
            exchange = _Exchange(self, request, await self._read_body(request))
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint)
            return False
        self._awaited = ""
        self.scope.deadline = inf
        self._admission.answering(self.scope)
        self._admission.release(self.scope)
        await self._answer(exchange)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _answer(self, exchange: "_Exchange") -> None:
        self._exchange = exchange
        try:
            with exchange.answered:
                await self._app(exchange.scope, exchange.receive, exchange.send)
        except Exception as error:
            failure = _not_of_the_client(error)
            if failure is None:
                raise
            self.traffic.failed(failure, f"{exchange.scope['method']} {exchange.scope['path']!r}")
            if self._http.our_state is h11.SEND_RESPONSE:
                await self._refuse(500)
        finally:
            self._exchange = None

    # Reading

    async def _read_request(self) -> h11.Request | None:
        """Return the head of the next request, or None when the client has left instead."""
        check = HeadCheck()
        ahead, _ = self._http.trailing_data
        check.feed(ahead)
        if self._served and not ahead:
            self._wait_for("idle", self._limits.idle_timeout)
            data = await self._stream.receive_some(READ)
            check.feed(data)
            self._http.receive_data(bytes(data))
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event if isinstance(event, h11.Request) else None
            self._wait_for("head", self._limits.head_timeout)
            data = await self._stream.receive_some(READ)
            check.feed(data)
            self._http.receive_data(bytes(data))

    async def _read_body(self, request: h11.Request) -> bytes:
        """Return the body of a request. Raises Refusal for one that exceeds its limit or the server's buffers."""
        limits = self._limits
        if (check_framing(request) or 0) > limits.max_body:
            raise Refusal(413)
        body = bytearray()
        parts = 0
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    await self.write(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
                self._wait_for("body", limits.body_timeout)
                self._http.receive_data(bytes(await self._stream.receive_some(READ)))
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > limits.max_body:
                    raise Refusal(413)
                if not self._admission.hold(self.scope, len(event.data)):
                    raise Refusal(503)
                parts += 1
                if parts % PARTS == 0:
                    await trio.lowlevel.checkpoint()
            else:
                # Nothing else but its end: a client that leaves in the middle breaks the protocol, which h11 raises.
                return bytes(body)

    async def wait_for_end(self) -> None:
        """Return when the client has left, or sends more ahead than a client may."""
        ahead = 0
        while ahead <= READ:
            data = await self._stream.receive_some(READ)
            self._http.receive_data(bytes(data))
            if not data:
                return
            ahead += len(data)

    # Writing

    async def write(self, *events: Any, chunk_mark: bytes = b"") -> None:
        """Send these h11 events in one write; `chunk_mark` is put behind the size of each chunk."""
        pieces: list[bytes] = []
        for event in events:
            made = self._http.send_with_data_passthrough(event) or []
            if chunk_mark and isinstance(event, h11.Data):
                made[0] = made[0].replace(b"\r\n", chunk_mark + b"\r\n")
            pieces += made
        # A turn for others, however many requests a client sends at once.
        await self._gate.opened.wait()
        if not self._quick.write(b"".join(pieces)):
            await self._quick.finish(self._send_by)

    def offer_chunks(self, chunks: list[bytes]) -> bool:
        """Send chunks as a BBS does, as far as the client takes them; if not all, `finish_chunks` comes next."""
        data = b"".join([b"%x;\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks])
        if self._gate.opened.is_set():
            return self._quick.write(data)
        self._quick.leave(data)
        return False

    async def finish_chunks(self) -> None:
        """Send the rest of the offered chunks."""
        await self._gate.opened.wait()
        await self._quick.finish(self._send_by)

    async def _send_by(self, data: bytes, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send bytes, and count the time that the client lets them wait."""
        exchange = self._exchange
        began = trio.current_time()
        left = self._limits.reply_timeout - exchange.waited if exchange and not exchange.is_event_stream else inf
        self._awaited = "write" if self._limits.write_timeout <= left else "reply"
        self.scope.deadline = began + min(self._limits.write_timeout, left)
        await send(data)
        self.scope.deadline = inf
        if exchange:
            exchange.waited += trio.current_time() - began

    async def _refuse(self, status: int) -> None:
        """Answer a request that is not for the application, and close the connection."""
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        self.traffic.replies[status] += 1
        headers = [("Connection", "close"), ("Content-Length", "0"), ("Date", formatdate(usegmt=True))]
        head = h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase)
        await self.write(head, h11.EndOfMessage())
        await self._linger()

    async def _linger(self) -> None:
        """Read on for a moment: closing a connection with unread bytes resets it, and the client loses the reply."""
        self._wait_for("end", inf)
        with trio.move_on_after(LINGER):
            if isinstance(self._stream, trio.SocketStream):
                await self._stream.send_eof()
            for _ in range(PARTS):
                if not await self._stream.receive_some(READ):
                    return


class _Exchange:
    """One request and its reply, as ASGI has them."""

    def __init__(self, connection: Connection, request: h11.Request, body: bytes) -> None:
        self._connection = connection
        self._body: bytes | None = body
        self._head: h11.Response | None = None
        self._only_head = request.method == b"HEAD"
        self._is_chunked = not self._only_head and request.http_version >= b"1.1"
        self.is_event_stream = False
        self.answered = trio.CancelScope()
        """Cancelled when there is no more to answer, though the application may have more to say."""
        self.waited = 0.0  # seconds that the client has let the reply wait
        path, raw_path, query = split_target(request.target)
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version.decode("ascii"),
            "method": request.method.decode("ascii"),
            "scheme": "http",
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "extensions": {CHUNKS: {OFFER: connection.offer_chunks}} if self._is_chunked else {},
            "headers": [(name, value) for name, value in request.headers],
        }

    async def receive(self) -> Message:
        """Return the request's body, which is there; then, when the client has left, that it has."""
        if self._body is None:
            await self._connection.wait_for_end()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Send the head, with the first part of the body; then the other parts, each as it comes."""
        if message["type"] == "http.response.start":
            self._head = self._make_head(message)
            return
        chunks = message.get("chunks")
        if chunks is not None:
            if not (chunks and self._connection.offer_chunks(chunks)):
                await self._connection.finish_chunks()
            return
        events: list[Any] = []
        if self._head is not None:
            events.append(self._head)
            self._head = None
        if self._only_head:
            if events:
                await self._connection.write(*events, h11.EndOfMessage())
                self.answered.cancel()
            return
        if message.get("body"):
            events.append(h11.Data(data=message["body"]))
        if not message.get("more_body", False):
            events.append(h11.EndOfMessage())
        await self._connection.write(*events, chunk_mark=b";" if self.is_event_stream else b"")

    def _make_head(self, message: Message) -> h11.Response:
        headers = [*message.get("headers", ()), (b"date", formatdate(usegmt=True).encode("ascii"))]
        self.is_event_stream = any(
            name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers
        )
        named = sorted((name.title(), value) for name, value in headers)
        status = message["status"]
        self._connection.traffic.replies[status] += 1
        return h11.Response(status_code=status, headers=named, reason=HTTPStatus(status).phrase)


def _not_of_the_client(error: Exception) -> Exception | None:
    """Return the part of an error, which can be a group, that the client did not cause."""
    group = error if isinstance(error, ExceptionGroup) else ExceptionGroup("", [error])
    _, rest = group.split(_OF_THE_CLIENT)
    return None if rest is None else _single(rest)


def _single(error: Any) -> Exception:
    """Return the error that a group is of, or the group where there are several."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return cast("Exception", error)
