"""A BBS in a process of its own whose state changes all the time: `python -m benchmarks.busy_server SIZE RATE NUMBER`.

It has the rows of `benchmarks.data`, and applies so many events a second to them once `/go` is asked for. It lists what
it has, answers reads of single processes, and keeps KEPT events for a reader of the stream, as a BBS does: one that is
further behind is thrown out. `/told` says what has become of it. It ends with its standard input.
"""

import socket
import sys
import time
from collections import deque
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from threading import Condition, Lock, Thread
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.data import desired, lists, rows
from benchmarks.server import chunk
from benchmarks.workload import churn, encoded, frames
from lrpmirror.events import (
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    Event,
)
from lrpmirror.model import ActualLRP, ActualLRPState
from lrpmirror.wire import encode
from lrpmirror.wire.proto import requests_pb2

__all__ = ["KEPT", "Told"]

KEPT: Final = 1_024
"""How many events are kept for a reader."""

ROWS, SOME_ROWS = "/v1/actual_lrps/list", "/v1/actual_lrps/list_by_process_guids"

_SLICE: Final = 0.001
"""How often events are applied, in seconds."""

_SEND_BUFFER: Final = 16_384
"""Small, so that what a reader does not take stays here and is counted."""


class Told(Struct):
    """How many events were applied, how many readers were thrown out, and how many events were kept for one at most."""

    applied: int = 0
    evicted: int = 0
    backlog: int = 0
    over: bool = False


class _Reader:
    """One reader of the stream: a queue, and a thread that empties it into the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._kept: deque[bytes] = deque()
        self._more = Condition()
        self.gone = False

    def put(self, frame: bytes) -> int:
        """Keep an event, and return how many there are; the caller throws it out where these are too many."""
        with self._more:
            self._kept.append(frame)
            self._more.notify()
            return len(self._kept)

    def leave(self) -> None:
        with self._more:
            self.gone = True
            self._connection.shutdown(socket.SHUT_RDWR)
            self._more.notify()

    def send(self) -> None:
        """Send what is kept until the reader leaves, or is thrown out."""
        try:
            while not self.gone:
                with self._more:
                    while not self._kept and not self.gone:
                        self._more.wait()
                    some = [*islice(self._kept, 16)]
                self._connection.sendall(b"".join(some))
                with self._more:
                    for _ in some:
                        self._kept.popleft()
        except OSError:
            self.gone = True


class _State:
    def __init__(self, size: int, rate: int, number: int) -> None:
        present = rows(size)
        self._lock = Lock()
        self._records: dict[str, tuple[str, bytes]] = {}
        self._by_process: dict[str, dict[str, None]] = {}
        self._bodies = lists((), desired(present))
        self._bodies["/v1/ping"] = requests_pb2.PingResponse(available=True).SerializeToString()
        self._readers: list[_Reader] = []
        self._rate = rate
        for row in present:
            self._put(row.epoch, row.process_guid, encode.actual_lrp(row))
        self._events = list(_written(churn(present, number), present))
        self._going = False
        self.told = Told()

    def _put(self, epoch: str, process_guid: str, record: bytes) -> None:
        if record:
            self._records[epoch] = process_guid, record
            self._by_process.setdefault(process_guid, {})[epoch] = None
        else:
            del self._records[epoch]
            del self._by_process[process_guid][epoch]

    def answer(self, path: str, body: bytes) -> bytes | None:
        """Return the body of a reply; None where there is no such path."""
        if path == ROWS:
            with self._lock:
                found = [*self._records.values()]
            return encode.reply(record for _, record in found)
        if path == SOME_ROWS:
            guids = requests_pb2.ActualLRPsByProcessGuidsRequest.FromString(body).process_guids
            with self._lock:
                epochs = [epoch for guid in guids for epoch in self._by_process.get(guid, ())]
                return encode.reply([self._records[epoch][1] for epoch in epochs])
        if path == "/told":
            return msgspec.json.encode(self.told)
        if path == "/go" and not self._going:
            self._going = True
            Thread(target=self._go, daemon=True).start()
            return b""
        return self._bodies.get(path)

    def stream(self, connection: socket.socket) -> None:
        """Send the events from now on."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        reader = _Reader(connection)
        with self._lock:
            self._readers.append(reader)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        reader.send()

    def _go(self) -> None:
        began = time.monotonic()
        while not self.told.over:
            due = min(len(self._events), int((time.monotonic() - began) * self._rate))
            with self._lock:
                for frame, epoch, process_guid, record in self._events[self.told.applied : due]:
                    self._put(epoch, process_guid, record)
                    for reader in self._readers:
                        self._tell(reader, frame)
                self._readers = [reader for reader in self._readers if not reader.gone]
                self.told.applied, self.told.over = due, due == len(self._events)
            time.sleep(_SLICE)

    def _tell(self, reader: _Reader, frame: bytes) -> None:
        if reader.gone:
            return
        backlog = reader.put(frame)
        self.told.backlog = max(self.told.backlog, backlog)
        if backlog > KEPT:
            self.told.evicted += 1
            reader.leave()


def _written(events: Iterable[Event], present: Iterable[ActualLRP]) -> Iterable[tuple[bytes, str, str, bytes]]:
    """Return each event's frame, with the epoch, the process and the new record of the row that it writes.

    No record where it removes one. A row that starts gets the internal routes and metric tags of its process, which its
    event does not carry.
    """
    known = {row.process_guid: row for row in present}
    events = list(events)
    for event, frame in zip(events, map(chunk, frames(encoded(events))), strict=True):
        match event:
            case ActualLRPInstanceRemoved(actual_lrp=row):
                yield frame, row.epoch, row.process_guid, b""
            case ActualLRPInstanceCreated(actual_lrp=row) | ActualLRPInstanceChanged(after=row):
                first = known[row.process_guid]
                if row.state == ActualLRPState.RUNNING:
                    row = replace(row, internal_routes=first.internal_routes, metric_tags=first.metric_tags)
                yield frame, row.epoch, row.process_guid, encode.actual_lrp(row)
            case _:
                raise AssertionError(event)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: _State

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/v1/events"):
            self.close_connection = True
            self.state.stream(self.connection)
            return
        reply = self.state.answer(self.path, body)
        self.send_response(200 if reply is not None else 404)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(reply or b"")))
        self.end_headers()
        self.wfile.write(reply or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that left in the midst of a reply."""


def main(size: int, rate: int, number: int) -> None:
    """Serve on a port of the system's choice, which is printed, until standard input ends."""
    _Handler.state = _State(size, rate, number)
    server = _Server(("127.0.0.1", 0), _Handler)
    print(server.server_address[1], flush=True)
    Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
