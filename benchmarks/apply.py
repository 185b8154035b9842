"""Applying each kind of change to a mirror of many rows, beside decoding its events alone and keeping one dict of them.

All ways decode, so that what is put off from the one to the other is counted. The dict is no equal of the mirror: it
loses rows that were unclaimed and keeps the keys of instances that crashed.
"""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from benchmarks.data import desired, fingerprint, rows
from benchmarks.harness import Report, Run, Target, agree, check, compare, digest
from benchmarks.machine import loaded
from benchmarks.workload import KINDS, Story, encoded, heavy
from lrpmirror.core.session import Session
from lrpmirror.events import (
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    DesiredLRPChanged,
    Event,
)
from lrpmirror.model import ActualLRP
from lrpmirror.wire import decode, encode

SIZE, SMOKE = 250_000, 2_000
"""Rows that are there."""

MOST = 5_000
"""Changes of each kind and round, at most."""

BURST = 100
"""Events that one read brings."""

TARGETS = tuple(
    Target(f"apply {kind}, beyond decoding, an event", 1.5, "µs") for kind in (*KINDS, "desired_lrp_changed")
)


class _Batch(Struct, frozen=True):
    """What one round applies: the events as they come, and the rows that are there afterwards, or are not."""

    events: list[tuple[str, bytes]]
    end: Mapping[str, ActualLRP | None]


def run(size: int, rounds: int) -> Iterator[Report]:
    """Apply changes of each kind, each row being changed once."""
    present = list(rows(size))
    number = min(MOST, size // (rounds * len(KINDS)))
    places = list(range(size))
    Random(4).shuffle(places)
    batches: dict[str, list[_Batch]] = {}
    for kind, story_of in KINDS.items():
        for _ in range(rounds):
            mine, places = places[:number], places[number:]
            stories = [story_of(present[at]) for at in mine]
            for at, story in zip(mine, stories, strict=True):
                if story.start is not present[at]:
                    present[at] = decode.actual_lrp(encode.actual_lrp(story.start))
            batches.setdefault(kind, []).append(_batch(stories))
    wanted = desired(present)
    session = loaded(present, wanted)
    table = {row.epoch: row for row in present}
    for kind, of_kind in batches.items():
        ways = _ways(session, table, of_kind)
        report = compare(f"apply {kind}", size, ways, rounds=rounds)
        yield _checked(kind, replace(report, digest=_ended(session, of_kind)))
    changes = [DesiredLRPChanged(lrp, replace(lrp, instances=9, tag_index=2)) for lrp in map(heavy, wanted[:MOST])]
    each = len(changes) // rounds
    batch = [_Batch(_texts(changes[at * each : (at + 1) * each]), {}) for at in range(rounds)]
    yield _checked(
        "desired_lrp_changed", compare("apply desired_lrp_changed", size, _ways(session, {}, batch), rounds=rounds)
    )


def _batch(stories: list[Story]) -> _Batch:
    events = _texts([event for story in stories for event in story.events])
    return _Batch(events, {epoch: row for story in stories for epoch, row in story.end.items()})


def _texts(events: Sequence[Event]) -> list[tuple[str, bytes]]:
    return [(kind, base64.b64encode(payload)) for kind, payload in encoded(events)]


def _ways(session: Session, table: dict[str, ActualLRP], batches: list[_Batch]) -> dict[str, Callable[[], Run]]:
    return {
        "decoded only": partial(_decoded, iter(batches)),
        "decoded, into one dict": partial(_kept, table, iter(batches)),
        "decoded, to the mirror": partial(_applied, session, iter(batches)),
    }


def _checked(kind: str, report: Report) -> Report:
    floor, _, ours = report.figures
    beyond = check(TARGETS, f"apply {kind}, beyond decoding, an event", ours.value - floor.value)
    return replace(report, checks=beyond)


def _ended(session: Session, batches: list[_Batch]) -> str:
    epochs = sorted(epoch for batch in batches for epoch in batch.end)
    return digest(_print({epoch: session.knowledge.store.get(epoch) for epoch in epochs}))


def _decoded(batches: Iterator[_Batch]) -> Run:
    batch = next(batches)
    with (run := Run(len(batch.events))):
        for at in range(0, len(batch.events), BURST):
            [decode.event(kind, data) for kind, data in batch.events[at : at + BURST]]
    return run


def _kept(table: dict[str, ActualLRP], batches: Iterator[_Batch]) -> Run:
    batch = next(batches)
    with (run := Run(len(batch.events))):
        for kind, data in batch.events:
            event = decode.event(kind, data)
            if isinstance(event, ActualLRPInstanceChanged):
                table[event.after.epoch] = event.after
            elif isinstance(event, ActualLRPInstanceCreated):
                table[event.actual_lrp.epoch] = event.actual_lrp
            elif isinstance(event, ActualLRPInstanceRemoved):
                table.pop(event.actual_lrp.epoch, None)
    return run


def _applied(session: Session, batches: Iterator[_Batch]) -> Run:
    batch = next(batches)
    revision = session.knowledge.revision
    with (run := Run(len(batch.events))):
        for at in range(0, len(batch.events), BURST):
            session.events([decode.event(kind, data) for kind, data in batch.events[at : at + BURST]], 0.0)
    ended = {epoch: session.knowledge.store.get(epoch) for epoch in batch.end}
    agree("the rows after the events", _print(ended), _print(batch.end))
    run.answer = (len(batch.end), session.knowledge.revision - revision)
    return run


def _print(rows_by_epoch: Mapping[str, ActualLRP | None]) -> dict[str, object]:
    return {epoch: None if row is None else fingerprint(row) for epoch, row in rows_by_epoch.items()}
