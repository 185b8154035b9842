"""A BBS in a process of its own, which sends what was written for it beforehand: `python -m benchmarks.server FOLDER`.

It answers lists with bodies and the event stream with frames, so that what it takes to make them is not measured, with
one TLS record for each event, as a BBS does. A stream begins when `/go` is asked for, and is cut by
`/cut`. In a paced stream each event
carries the monotonic time at which it was sent, which is the same clock in all processes of a machine.
"""

import socket
import ssl
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Struct

__all__ = ["STAMP", "Script", "chunk"]

STAMP = "0" * 20
"""The text in a paced event that stands for the time."""

_SLICE = 0.001
"""How often a paced stream sends, in seconds."""

_RECORDS = 64
"""How many events are handed to the network at once where they are sent as fast as can be."""


class Script(Struct):
    """What the server says: bodies by path, the frames of the stream, and paced events as types and bytes."""

    bodies: dict[str, bytes]
    frames: list[bytes] = []
    paced: list[tuple[str, bytes]] = []


class _Connection:
    """TLS between two memory buffers, so that many records go out in one call of the system."""

    def __init__(self, below: socket.socket, context: ssl.SSLContext) -> None:
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            else:
                self._flush()
                return

    def read(self) -> bytes:
        while True:
            try:
                return self._tls.read(65_536)
            except ssl.SSLWantReadError:
                self._fill()

    def send(self, *records: bytes) -> None:
        for record in records:
            self._tls.write(record)
        self._flush()

    def _fill(self) -> None:
        data = self._below.recv(65_536)
        if not data:
            raise ConnectionResetError("the client is gone")
        self._incoming.write(data)

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._below.sendall(data)


class _Server:
    def __init__(self, script: Script, context: ssl.SSLContext) -> None:
        self._script = script
        self._context = context
        self._going: list[Event] = []
        self._streams: list[socket.socket] = []
        self._rate = 0.0
        self._number = 0

    def serve(self, below: socket.socket) -> None:
        """Answer the requests of one connection until the client leaves."""
        with suppress(OSError), below:
            below.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(below, self._context)
            connection.handshake()
            while self._answer(connection, below):
                pass

    def _answer(self, connection: _Connection, below: socket.socket) -> bool:
        target = _target(connection)
        if not target:
            return False
        url = urlsplit(target)
        if url.path.startswith("/v1/events"):
            self._streams.append(below)
            self._stream(connection)
            return False
        if url.path == "/go":
            asked = parse_qs(url.query)
            self._rate, self._number = float(asked["rate"][0]), int(asked["number"][0])
            for going in self._going:
                going.set()
            self._going.clear()
        if url.path == "/cut":
            for stream in self._streams:
                with suppress(OSError):
                    stream.shutdown(socket.SHUT_RDWR)
            self._streams.clear()
        found = url.path in {"/go", "/cut"} or url.path in self._script.bodies
        self._reply(connection, self._script.bodies.get(url.path, b""), found=found)
        return True

    def _reply(self, connection: _Connection, body: bytes, *, found: bool) -> None:
        status = b"200 OK" if found else b"404 Not Found"
        connection.send(
            b"HTTP/1.1 %b\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        )
        for at in range(0, len(body), 1 << 20):
            connection.send(body[at : at + (1 << 20)])

    def _stream(self, connection: _Connection) -> None:
        going = Event()
        self._going.append(going)
        connection.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        going.wait()
        if self._rate:
            self._send_paced(connection, self._rate, self._number)
            # The client leaves when it has seen enough.
            connection.read()
        else:
            frames = self._script.frames
            for at in range(0, len(frames), _RECORDS):
                connection.send(*frames[at : at + _RECORDS])
            connection.send(b"0\r\n\r\n")

    def _send_paced(self, connection: _Connection, rate: float, number: int) -> None:
        events = self._paced(number)
        began = time.monotonic()
        sent = 0
        while sent < number:
            due = min(number, int((time.monotonic() - began) * rate))
            for _ in range(due - sent):
                kind, before, after = next(events)
                payload = b"%b%020d%b" % (before, time.monotonic_ns(), after)
                connection.send(chunk(b"id: 0\nevent: %b\ndata: %b\n\n" % (kind, b64encode(payload))))
            sent = max(sent, due)
            time.sleep(_SLICE)

    def _paced(self, number: int) -> Iterator[tuple[bytes, bytes, bytes]]:
        for kind, payload in self._script.paced[:number]:
            before, _, after = payload.partition(STAMP.encode())
            yield kind.encode(), before, after


def _target(connection: _Connection) -> str:
    """Read a request, and return what it asks for; nothing where the client leaves."""
    head = b""
    while b"\r\n\r\n" not in head:
        if not (data := connection.read()):
            return ""
        head += data
    head, _, body = head.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.partition(b":")[2]):
                body += connection.read()
    return head.split()[1].decode()


def chunk(frame: bytes) -> bytes:
    """Return a frame as a BBS's chunk."""
    return b"%x;\r\n%b\r\n" % (len(frame), frame)


def main(folder: Path) -> None:
    """Serve what is in the folder on a port of the system's choice, which is printed, until standard input ends.

    That it does when the program that started this one is gone, however it went.
    """
    script = msgspec.msgpack.decode((folder / "script").read_bytes(), type=Script)
    script.frames = [chunk(frame) for frame in script.frames]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server = _Server(script, context)
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        print(listener.getsockname()[1], flush=True)
        Thread(target=_accept, args=(server, listener), daemon=True).start()
        sys.stdin.read()


def _accept(server: _Server, listener: socket.socket) -> None:
    while True:
        below, _ = listener.accept()
        Thread(target=server.serve, args=(below,), daemon=True).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
