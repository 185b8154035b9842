"""What a replica's subscribers cost it, and how its lists fare: with readers in another process, plain and over TLS.

The baseline is the plainest way to send an event to a reader: encode it, frame it, write it. The figures are the
server's processor time for each delivery, all its other work included: the mirror's, and that of the BBS in the same
process. It should be measured on a machine on which nothing else runs.
"""

import http.client
import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import socketpair
from statistics import median
from tempfile import TemporaryDirectory

import trustme
from msgspec import Struct

from benchmarks.data import rows
from benchmarks.harness import Check, Figure, Report, Target, agree, check, digest
from benchmarks.served import ROOT
from benchmarks.workload import flips
from lrpmirror.wire import encode, sse
from lrpmirror.wire.lists import ReplySplitter

SIZE, SMOKE = 1_000, 20
"""Subscribers."""

SECONDS, FEW = 10.0, 1.0
CASES = ((1, 50), (2, 25))
"""Times so many subscribers, and events a second."""

PROBE = 0.25
"""Seconds between two lists."""

TARGETS = tuple(
    target
    for times, rate in CASES
    for way in ("plain", "TLS")
    for target in (
        Target(f"lists beside {times * SIZE:,} subscribers, {rate} events/s, {way}: the slowest", 200.0, "ms"),
        Target(f"{times * SIZE:,} subscribers, {rate} events/s, {way}: share of a processor", 1.0, "of one"),
    )
)


class _List(Struct):
    """What a list took, in milliseconds."""

    wall: float
    processor: float
    """What the server's process worked meanwhile, for whomever: it does not wait for others on the machine."""


class _Seen(Struct):
    processor: float
    """Microseconds for each delivery."""
    delivered: float
    """A share of what should have been."""
    load: float
    """How much of a processor the server used."""
    lists: "list[_List]"
    dropped: int
    answer: str
    """A digest of what was listed at the end."""


def run(size: int, rounds: int) -> Iterator[Report]:
    """Let events happen before so many readers, and twice as many."""
    baseline = median(_plainest() for _ in range(rounds))
    with TemporaryDirectory(prefix="benchmark-") as name:
        _certify(Path(name))
        for times, rate in CASES:
            yield _report(size, times, rate, {"plain": "", "TLS": name}, baseline)


def _report(size: int, times: int, rate: int, folders: dict[str, str], baseline: float) -> Report:
    count, judged = times * size, f"{times * SIZE:,} subscribers, {rate} events/s"
    seen = {way: _measure(count, rate, folder) for way, folder in folders.items()}
    figures = [Figure("encode, frame, write each", baseline, 1.0)]
    notes = []
    checks: list[Check] = []
    for way, one in seen.items():
        figures.append(Figure(f"{way}, a delivery", one.processor, one.processor / baseline))
        slowest = max(each.wall for each in one.lists)
        notes.append(
            f"{way}: {one.delivered:.1%} delivered, {one.dropped} dropped, {one.load:.0%} of a processor; "
            f"a list of 2,000 rows in {median(each.wall for each in one.lists):.0f} ms, the slowest {slowest:.0f} ms, "
            f"in which the server worked {max(each.processor for each in one.lists):.0f} ms at most"
        )
        checks += check(TARGETS, f"lists beside {judged}, {way}: the slowest", slowest)
        checks += check(TARGETS, f"{judged}, {way}: share of a processor", one.load)
        if one.dropped == 0:
            agree(f"deliveries, {way}", round(one.delivered, 2), 1.0)
    answers = [one.answer for one in seen.values()]
    agree("the lists at the end", answers[0], answers[-1])
    return Report(
        title=f"subscribers at {rate} events/s",
        size=count,
        digest=answers[0],
        figures=tuple(figures),
        checks=tuple(checks),
        notes=tuple(notes),
    )


def _measure(count: int, rate: int, folder: str) -> _Seen:
    seconds = SECONDS if count >= SIZE else FEW
    with ExitStack() as stack:
        server, port = stack.enter_context(_process("serve", folder))
        readers, _ = stack.enter_context(_process("read", str(port), str(count), folder))
        took: list[_List] = []
        stop = threading.Event()
        prober = threading.Thread(target=_probe, args=(server.pid, port, folder, took, stop))
        prober.start()
        _say(server, f"{rate} {seconds}\n")
        said = json.loads(_line(server))
        stop.set()
        prober.join()
        answer = digest(sorted(ReplySplitter().feed(_listed(server.pid, port, folder, []))))
        _say(readers, f"{said['events'] * count}\n")
        counted = json.loads(_line(readers))
    deliveries = said["events"] * count
    return _Seen(
        processor=said["processor"] / max(counted["counted"], 1) * 1e6,
        delivered=counted["counted"] / deliveries,
        load=said["processor"] / said["seconds"],
        lists=took,
        dropped=count - counted["open"],
        answer=answer,
    )


def _probe(pid: int, port: int, folder: str, took: list[_List], stop: threading.Event) -> None:
    while not stop.is_set():
        _listed(pid, port, folder, took)
        stop.wait(PROBE)


def _listed(pid: int, port: int, folder: str, took: list[_List]) -> bytes:
    """List all rows, and note what that took on a connection that was there."""
    connection: http.client.HTTPConnection
    if folder:
        context = ssl.create_default_context(cafile=Path(folder) / "ca.pem")
        context.load_cert_chain(Path(folder) / "client.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.connect()
    began, worked = time.perf_counter(), _worked(pid)
    connection.request("POST", "/v1/actual_lrps/list")
    body = connection.getresponse().read()
    took.append(_List((time.perf_counter() - began) * 1e3, (_worked(pid) - worked) * 1e3))
    connection.close()
    return body


def _worked(pid: int) -> float:
    """Return the processor time of another process, in seconds, by the clock that Linux has for it."""
    return time.clock_gettime(~pid << 3 | 2)


def _plainest() -> float:
    """Return the microseconds of processor time that one event costs for one reader, done plainly."""
    events = flips(rows(200), 2_000)
    ours, theirs = socketpair()
    began = time.process_time()
    for number, event in enumerate(events):
        frame = sse.encode_frame(number, event.type, encode.event(event))
        ours.sendall(b"%x;\r\n%s\r\n" % (len(frame), frame))
        theirs.recv(65_536)
    spent = time.process_time() - began
    ours.close()
    theirs.close()
    return spent / len(events) * 1e6


def _certify(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")


@contextmanager
def _process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run one of the processes, with the number that it says first."""
    command = [sys.executable, "-m", "benchmarks.crowd", *arguments]
    with subprocess.Popen(  # noqa: S603 - our own module
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            first = _line(process)
            yield process, int(first) if first.isdecimal() else 0
        finally:
            process.kill()


def _say(process: subprocess.Popen[str], line: str) -> None:
    if process.stdin is not None:
        process.stdin.write(line)
        process.stdin.flush()


def _line(process: subprocess.Popen[str]) -> str:
    return "" if process.stdout is None else process.stdout.readline().strip()
