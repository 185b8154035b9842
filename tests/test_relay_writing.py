"""What a publisher keeps until it is written, what it tells of it, and where it finds the relay to differ."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import wraps
from typing import Any

import trio
from core_support import desired, running
from msgspec.structs import replace

from lrpmirror.core.rows.changes import Cause, Commit, Delta
from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.events import (
    ActualLRPCrashed,
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
)
from lrpmirror.model import ActualLRP, DesiredLRP, Presence
from lrpmirror.relay._content import Content, EventMaker, Writes
from lrpmirror.relay._leading import Retention
from lrpmirror.relay._pending import CRASHES, MANY, Batch, Pending, Step
from lrpmirror.wire import decode, encode


def row(index: int = 0, tag: int = 1, **more: Any) -> ActualLRP:
    given = {"epoch": f"epoch-{index}", "tag_index": tag, "domain": "d", "state": "CLAIMED", "since": 5, **more}
    return ActualLRP(process_guid="p", index=index, **given)


def lrp(tag: int = 1, epoch: str = "e") -> DesiredLRP:
    return DesiredLRP(process_guid="p", domain="d", epoch=epoch, tag_index=tag)


def counting() -> Pending:
    pending = Pending(lambda: None)
    pending.count_anew()
    return pending


def committed(pending: Pending, *deltas: Delta[Any, ActualLRP]) -> None:
    pending.listed(Commit(revision=1, cause=Cause.EVENT, actual_lrps=deltas))


def now(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run_test(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        trio.run(main)

    return run_test


# What is pending


def test_many_changes_of_a_record_are_one_step_from_what_is_there_to_what_is_last() -> None:
    pending = counting()
    for tag in range(1, 1000):
        committed(pending, Delta("epoch-0", row(tag=tag), row(tag=tag + 1)))

    assert pending.take().rows == {"epoch-0": Step(row(tag=1), row(tag=1000))}


def test_what_was_not_written_is_given_back_under_what_came_since() -> None:
    pending = counting()
    committed(pending, Delta("epoch-0", None, row(tag=1)), Delta("epoch-1", row(1), None))
    batch = pending.take()
    committed(pending, Delta("epoch-0", row(tag=1), row(tag=2)))
    pending.give_back(batch)

    again = pending.take()
    assert again.rows == {"epoch-0": Step(None, row(tag=2)), "epoch-1": Step(row(1), None)}
    assert set(again.processes) == {"p"}


def test_of_crashes_that_wait_the_newest_are_kept() -> None:
    pending = counting()
    crashes = [ActualLRPCrashed(process_guid="p", index=0, domain="d", crash_count=n) for n in range(CRASHES + 2)]
    for crash in crashes[:2]:
        pending.event(crash, Outcome.NOTED, None)
    batch = pending.take()
    for crash in crashes[2:]:
        pending.event(crash, Outcome.NOTED, None)
    pending.give_back(batch)
    assert pending.take().crashes == tuple(crashes[2:])
    assert not pending.take().crashes
    pending.event(crashes[0], Outcome.NOTED, None)
    pending.lose_count()
    pending.event(crashes[1], Outcome.NOTED, None)
    assert not pending.crashes


def test_a_commit_of_very_much_is_not_noted_key_by_key() -> None:
    pending = counting()
    committed(pending, *(Delta(f"epoch-{n}", None, row(n)) for n in range(MANY + 1)))

    assert pending.everything
    assert not len(pending)


def test_nothing_is_noted_while_all_of_it_is_to_be_compared_anyway() -> None:
    pending = Pending(lambda: None)
    committed(pending, Delta("epoch-0", None, row()))

    assert not len(pending)


def test_a_batch_is_bounded_and_the_rest_stays() -> None:
    pending = counting()
    for n in range(MANY + 500):
        committed(pending, Delta(f"epoch-{n}", row(n, tag=1), row(n, tag=2)))

    assert len(pending.take()) == MANY
    assert len(pending.take()) == 500


# What is told


async def notified(*steps: Step[Any], event_maker: EventMaker | None = None) -> list[Any] | None:
    rows = {f"epoch-{n}": step for n, step in enumerate(steps) if not _is_desired(step)}
    desired = {f"p{n}": step for n, step in enumerate(steps) if _is_desired(step)}
    batch = Batch(rows, desired, {})
    content = Content(Nothing(), counting(), full=False)
    writes = await content.writes(batch)
    events = await (event_maker or EventMaker()).tell(batch, writes["actual_lrps"], 0.0)
    return None if events is None else [decode.event_payload(name, payload) for name, payload in events]


def _is_desired(step: Step[Any]) -> bool:
    return isinstance(step.before or step.after, DesiredLRP)


class Nothing:
    """A mirror without anything."""

    def actual_lrps(self, _: str | None = None, /) -> tuple[ActualLRP, ...]:
        return ()

    def desired_lrp(self, _: str, /) -> DesiredLRP | None:
        return None

    def desired_lrps(self) -> tuple[DesiredLRP, ...]:
        return ()


@now
async def test_a_whole_record_is_told_as_created_and_one_that_left_as_removed_first() -> None:
    events = await notified(Step(row(0, 1), row(0, 2)), Step(None, row(1)), Step(row(2), None))

    assert events == [
        ActualLRPInstanceRemoved(row(2)),
        ActualLRPInstanceCreated(row(0, 2)),
        ActualLRPInstanceCreated(row(1)),
    ]


@now
async def test_a_presence_that_changes_without_a_version_is_a_diff() -> None:
    before, after = row(tag=3), row(tag=3, presence=Presence.SUSPECT)
    events = await notified(Step(before, after)) or []
    assert len(events) == 1
    event = events[0]

    assert isinstance(event, ActualLRPInstanceChanged)
    assert (event.before.presence, event.after.presence) == (Presence.ORDINARY, Presence.SUSPECT)


@now
async def test_what_is_the_same_is_not_told() -> None:
    assert await notified(Step(row(), row()), Step(None, None)) == []
    assert await notified(Step(lrp(), lrp())) == []


@now
async def test_no_event_tells_that_a_record_went_back() -> None:
    assert await notified(Step(row(tag=5), row(tag=4))) is None
    assert await notified(Step(lrp(5), lrp(4))) is None
    assert await notified(Step(row(epoch="", tag=5), row(epoch="", tag=4))) is not None


@now
async def test_no_event_tells_that_a_record_is_back_which_was_told_to_be_gone() -> None:
    event_maker = EventMaker()
    assert await notified(Step(row(tag=5), None), event_maker=event_maker) is not None
    assert await notified(Step(None, row(tag=6)), event_maker=event_maker) is not None
    assert await notified(Step(row(tag=6), None), event_maker=event_maker) is not None
    assert await notified(Step(None, row(tag=6)), event_maker=event_maker) is None
    assert await notified(Step(lrp(), None), event_maker=event_maker) is not None
    assert await notified(Step(None, lrp(9)), event_maker=event_maker) is None


@now
async def test_a_desired_lrp_in_the_place_of_another_is_a_removal_and_a_creation() -> None:
    events = await notified(Step(lrp(epoch="old"), lrp(epoch="new"))) or []

    assert [event.type for event in events] == ["desired_lrp_removed", "desired_lrp_created"]


# Where the relay differs


class FakeMirror(Nothing):
    """A mirror with some rows and a desired LRP."""

    def __init__(self, rows: Iterable[ActualLRP], wanted: DesiredLRP | None = None) -> None:
        self._rows = tuple(rows)
        self._wanted = wanted

    def actual_lrps(self, process_guid: str | None = None, /) -> tuple[ActualLRP, ...]:
        return tuple(row for row in self._rows if process_guid in {None, row.process_guid})

    def desired_lrp(self, _: str, /) -> DesiredLRP | None:
        return self._wanted

    def desired_lrps(self) -> tuple[DesiredLRP, ...]:
        return () if self._wanted is None else (self._wanted,)


def rows_there(*rows: ActualLRP) -> Mapping[bytes, bytes]:
    return {row.epoch.encode(): encode.actual_lrp(row) for row in rows}


def test_a_row_that_is_older_foreign_or_no_row_is_found_and_one_that_is_right_is_not() -> None:
    content = Content(FakeMirror([row(0, 2), row(1)]), counting(), full=False)
    there = {**rows_there(row(0, 1), row(1), row(2)), b"epoch-9": b"\xff"}

    assert content.compare("actual_lrps", there) == {
        "epoch-0": Step(row(0, 1), row(0, 2)),
        "epoch-2": Step(row(2), None),
        "epoch-9": Step(None, None),
    }


def test_what_is_pending_is_not_compared() -> None:
    pending = counting()
    committed(pending, Delta("epoch-0", row(0, 1), row(0, 2)))

    assert Content(FakeMirror([row(0, 2)]), pending, full=False).compare("actual_lrps", rows_there(row(0, 1))) == {}


def test_what_the_relay_lacks_is_found_also_where_nonsense_stood_in_its_place() -> None:
    pending = counting()
    content = Content(FakeMirror([row(0), row(1)]), pending, full=False)
    for field, step in content.compare("actual_lrps", {b"epoch-0": b"\xff"}).items():
        assert isinstance(step, Step)
        pending.add_row(field, step)  # type: ignore[arg-type]

    lacking = dict(content.lacking("actual_lrps", {"epoch-0"}))
    assert lacking == {"epoch-0": Step(None, row(0)), "epoch-1": Step(None, row(1))}


def test_each_part_of_a_desired_lrp_is_compared_by_itself() -> None:
    content = Content(FakeMirror([], lrp(2)), counting(), full=False)

    assert content.compare("routing_infos", {b"p": encode.routing_info(lrp(2))}) == {}
    found = content.compare("scheduling_infos", {b"p": encode.scheduling_info(lrp(1))})
    assert found == {"p": Step(replace(lrp(1)), lrp(2))}
    assert content.compare("desired_lrps", {b"p": encode.desired_lrp(lrp(2))})["p"] is not None


# How much the stream keeps


def test_the_stream_keeps_the_newest_entries_up_to_so_many_bytes() -> None:
    retention = Retention(1000)
    for n in range(10):
        retention.add(f"{n}-0", 150)

    assert retention.oldest == "8-0"
    retention.forget()
    assert retention.oldest == ""


# Both together


def step(before: int | None, after: int | None, epoch: str = "a") -> Step[Any]:
    return Step(
        None if before is None else running(epoch, before, process_guid="p"),
        None if after is None else running(epoch, after, process_guid="p"),
    )


def test_what_waits_begins_where_the_relay_is_and_ends_where_the_mirror_is() -> None:
    pending = counting()
    pending.add_row("a", step(2, 3))
    pending.add_row("a", step(3, 4))
    batch = pending.take()
    assert batch.rows == {"a": step(2, 4)}
    pending.add_row("a", step(4, 5))
    pending.add_row("b", step(None, 1, "b"))
    pending.give_back(batch)
    assert pending.rows == {"a": step(2, 5), "b": step(None, 1, "b")}
    assert list(pending.processes) == ["p"]
    assert pending.take().rows == {"a": step(2, 5), "b": step(None, 1, "b")}
    assert not len(pending)


def test_what_cannot_be_told_as_an_event_is_not() -> None:
    async def notified(*steps: tuple[Step[Any], Step[Any]]) -> list[list[str] | None]:
        event_maker, found = EventMaker(), []
        for row, lrp in steps:
            batch = Batch({"a": row}, {"p": lrp}, {})
            writes = Writes()
            writes.set("a", None if row.after is None else encode.actual_lrp(row.after))
            events = await event_maker.tell(batch, writes, 0)
            found.append(None if events is None else sorted(name for name, _ in events))
        return found

    nothing: Step[Any] = Step(None, None)

    def lrps(before: int | None, after: int | None) -> Step[Any]:
        return Step(None if before is None else desired("d", before), None if after is None else desired("d", after))

    gone_and_back = trio.run(notified, (nothing, lrps(1, None)), (nothing, lrps(None, 1)), (nothing, lrps(1, 2)))
    assert gone_and_back == [["desired_lrp_removed"], None, ["desired_lrp_created"]]
    assert trio.run(notified, (nothing, lrps(2, 1))) == [None]
    rows = trio.run(notified, (step(2, None), nothing), (step(None, 2), nothing), (step(2, 3), nothing))
    assert rows == [["actual_lrp_instance_removed"], None, ["actual_lrp_instance_created"]]
    assert trio.run(notified, (step(3, 2), nothing)) == [None]
