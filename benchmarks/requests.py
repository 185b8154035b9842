"""The longest time for which one request to a replica lets no other task of the program have a turn.

Beside each: what holds it up without requests, and how long the answer takes in one piece. A task that does nothing
but wait for its turn looks at the processor time of its thread each time, which does not count what other programs of
the machine took.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from statistics import median

import trio
from msgspec import Struct

from benchmarks.data import desired, lists, records, rows
from benchmarks.harness import Report, Target, check, digest, figure_of
from benchmarks.served import Served, serve
from benchmarks.server import Script
from benchmarks.stalls import Stall, watched
from lrpmirror.errors import RequestRefused
from lrpmirror.serve.ops import ops_routes
from lrpmirror.serve.serving import ServedReplica, serve_replica
from lrpmirror.server import LISTS
from lrpmirror.wire import encode
from lrpmirror.wire.proto import requests_pb2 as pb

SIZE, SMOKE = 250_000, 1_000
"""Rows."""

ROUNDS = 3
"""At most."""

TARGETS = (Target("longest hold-up by any request", 10.0, "ms"),)

LAST = "/readyz"

SCHEDULING = "/v1/desired_lrp_scheduling_infos/list"


class Question(Struct, frozen=True):
    """What is asked."""

    name: str
    method: str
    path: str
    body: bytes = b""


def run(size: int, rounds: int) -> Iterator[Report]:
    """Serve a replica of so many rows, and ask."""
    bodies = lists(records(size), desired(rows(size)))
    with serve(Script(bodies=bodies)) as served:
        found = trio.run(_all, served, size, min(rounds, ROUNDS))
    longest = 0.0
    for question, quiet, held, whole in found:
        longest = max(longest, median(held))
        figures = [figure_of("nobody asks", quiet, quiet, "ms"), figure_of("request", held, quiet, "ms")]
        if whole:
            figures.append(figure_of("in one piece", whole, quiet, "ms"))
        yield Report(
            title=f"hold-up: {question.name}",
            size=size,
            figures=tuple(figures),
            digest=digest(question.name),
            checks=check(TARGETS, TARGETS[0].what, longest) if question.path == LAST else (),
        )


def _questions(size: int) -> Iterator[Question]:
    some = rows(min(size, 20_000))
    guids = list(dict.fromkeys(row.process_guid for row in some))[:10_000]
    apps = [guid[:36] for guid in guids]
    for name, request in (
        ("all rows", pb.ActualLRPsRequest()),
        ("rows of a domain", pb.ActualLRPsRequest(domain=some[0].domain)),
        ("rows of no domain", pb.ActualLRPsRequest(domain="none")),
        ("rows on a cell", pb.ActualLRPsRequest(cell_id=some[0].cell_id)),
        ("rows of an index", pb.ActualLRPsRequest(index=3)),
    ):
        yield Question(name, "POST", "/v1/actual_lrps/list", request.SerializeToString())
    yield Question("all groups", "POST", "/v1/actual_lrp_groups/list")
    named = pb.ActualLRPsByProcessGuidsRequest(process_guids=guids).SerializeToString()
    yield Question("rows of 10,000 processes", "POST", "/v1/actual_lrps/list_by_process_guids", named)
    for name, wanted in (
        ("all desired LRPs", pb.DesiredLRPsRequest()),
        ("those of a domain", pb.DesiredLRPsRequest(domain=some[0].domain)),
        ("those of 10,000 processes", pb.DesiredLRPsRequest(process_guids=guids)),
        ("those of 10,000 apps", pb.DesiredLRPsRequest(app_guids=apps)),
        ("those of one app 10,000 times", pb.DesiredLRPsRequest(app_guids=apps[:1] * 10_000)),
        ("those of one app 170,000 times", pb.DesiredLRPsRequest(app_guids=["a"] * 170_000)),
        ("those of nested prefixes", pb.DesiredLRPsRequest(app_guids=["a" * n for n in range(1, 900)])),
    ):
        yield Question(name, "POST", SCHEDULING, wanted.SerializeToString())
    for path in ("/page/state", "/metrics", LAST):
        yield Question(path, "GET", path)


async def _all(served: Served, size: int, rounds: int) -> list[tuple[Question, list[float], list[float], list[float]]]:
    found = []
    async with serve_replica(served.url, tls=served.tls, routes=ops_routes) as replica:
        await replica.mirror.wait_synced(300)
        await replica.mirror.wait_for(lambda mirror: mirror.status.live, 60)
        for question in _questions(size):
            quiet, held = [], []
            for _ in range(rounds):
                gc.collect()
                quiet.append(await _quiet())
                held.append(await _held(replica, question))
            found.append((question, quiet, held, list[float]()))
        # Later, since what answers in one piece leave to the allocator holds up what is asked next.
        for question, _, _, whole in found:
            if question.path in LISTS:
                whole += [_in_one_piece(replica, question) for _ in range(rounds)]
    return found


async def _quiet() -> float:
    stall = Stall()
    async with watched(stall):
        await trio.sleep(0.3)
    return stall.processor


async def _held(replica: ServedReplica, question: Question) -> float:
    """Ask, read all that is answered, and return the longest hold-up, in milliseconds of the processor."""
    stall = Stall()
    head = f"{question.method} {question.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    async with await trio.open_tcp_stream("127.0.0.1", replica.host.port) as stream, watched(stall):
        await stream.send_all(f"{head}Content-Length: {len(question.body)}\r\n\r\n".encode() + question.body)
        while await stream.receive_some(1 << 20):
            pass
    return stall.processor


def _in_one_piece(replica: ServedReplica, question: Question) -> float:
    def answer() -> bytes:
        steps = LISTS[question.path](replica.replica, question.body)
        return encode.reply([record for record in steps if record is not None])

    return _milliseconds(answer)


def _milliseconds(call: Callable[[], object]) -> float:
    began = time.thread_time()
    # What is refused takes its time, too.
    with suppress(RequestRefused):
        call()
    return (time.thread_time() - began) * 1e3
