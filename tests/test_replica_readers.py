"""How a replica's readers are given large commits: slice by slice, in order, and nobody waits for the slow for long."""

import trio
import trio.testing

from lrpmirror.core.rows.changes import Delta
from lrpmirror.events import DesiredLRPRemoved, Event
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.relay._content import AnnouncedVersions
from lrpmirror.serve.readers import SLICE, Readers, hand_out
from lrpmirror.server import LIMIT, Subscription

MANY = LIMIT + 2 * SLICE


def numbered(count: int, first: int = 0) -> list[Event]:
    return [DesiredLRPRemoved(DesiredLRP(process_guid=str(number))) for number in range(first, first + count)]


def taken(subscription: Subscription) -> list[Event]:
    return subscription.take_some(len(subscription))


def test_few_events_are_given_at_once() -> None:
    readers = Readers()
    one, other = readers.add("instances", ""), readers.add("groups", "")
    readers.put("instances", numbered(3))
    assert taken(one) == numbered(3)
    assert taken(other) == []
    assert not readers.news.is_set()


def test_many_events_wait_and_are_given_slice_by_slice_in_order() -> None:
    readers = Readers()
    one = readers.add("instances", "")
    readers.put("instances", numbered(MANY))
    readers.put("instances", numbered(1, MANY))
    assert readers.news.is_set()
    found: list[Event] = []
    while readers.hand_out():
        assert len(one) == SLICE
        found += taken(one)
    assert found + taken(one) == numbered(MANY + 1)
    assert not readers.news.is_set()
    assert not one.closed


def test_who_comes_while_events_wait_is_not_told_of_what_was_before() -> None:
    readers = Readers()
    readers.add("instances", "")
    readers.put("instances", numbered(MANY))
    readers.hand_out()
    late = readers.add("instances", "")
    readers.put("instances", numbered(2, MANY))
    while readers.hand_out():
        assert len(late) == 0
    assert taken(late) == numbered(2, MANY)


def test_a_reader_that_takes_nothing_is_dropped_and_the_others_are_told_everything() -> None:
    async def main() -> None:
        readers = Readers()
        slow, quick = readers.add("instances", ""), readers.add("instances", "")
        found: list[Event] = []
        whole = trio.Event()

        def take() -> None:
            found.extend(taken(quick))
            if len(found) == MANY:
                whole.set()

        quick.on_change = take
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hand_out, readers)
            readers.put("instances", numbered(MANY))
            with trio.fail_after(60):
                await whole.wait()
            nursery.cancel_scope.cancel()
        assert found == numbered(MANY)
        assert slow.fell_behind
        assert not quick.closed
        assert readers.dropped == 1
        assert readers.pending("instances") == [0]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_reader_that_takes_its_time_is_waited_for() -> None:
    async def main() -> None:
        readers = Readers()
        one = readers.add("instances", "")
        found: list[Event] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hand_out, readers)
            readers.put("instances", numbered(3 * MANY))
            with trio.fail_after(60):
                while len(found) < 3 * MANY:
                    await trio.sleep(0.03)
                    found += taken(one)
            nursery.cancel_scope.cancel()
        assert found == numbered(3 * MANY)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_closing_all_drops_what_waits() -> None:
    readers = Readers()
    one = readers.add("instances", "")
    readers.put("instances", numbered(MANY))
    readers.close()
    assert one.closed
    assert not one.fell_behind
    assert not readers
    assert not readers.hand_out()
    late = readers.add("instances", "")
    readers.put("instances", numbered(1))
    assert taken(late) == numbered(1)


# What was told to be gone


def row(index: int, epoch: str = "e") -> ActualLRP:
    return ActualLRP(process_guid="p", epoch=epoch, tag_index=index)


def test_a_row_that_comes_back_in_a_version_told_to_be_gone_contradicts() -> None:
    for later, contradicts in ((3, True), (4, True), (5, False)):
        announced = AnnouncedVersions()
        assert not announced.contradicts([Delta("e", row(4), None)], [])
        assert announced.contradicts([Delta("e", None, row(later))], []) is contradicts


def test_an_older_version_than_was_told_contradicts() -> None:
    for later, contradicts in ((3, True), (4, False), (5, False)):
        assert AnnouncedVersions().contradicts([Delta("e", row(4), row(later))], []) is contradicts
        before, after = (DesiredLRP(process_guid="p", epoch="e", tag_index=index) for index in (4, later))
        assert AnnouncedVersions().contradicts([], [Delta("p", before, after)]) is contradicts
    assert not AnnouncedVersions().contradicts([Delta(("p", 0, 0), row(4, ""), row(3, ""))], [])


def test_a_row_without_an_epoch_contradicts_nothing() -> None:
    announced = AnnouncedVersions()
    key = ("p", 0, 0)
    announced.contradicts([Delta(key, row(4, ""), None)], [])
    assert not announced.contradicts([Delta(key, None, row(4, ""))], [])


def test_a_desired_lrp_that_comes_back_under_its_epoch_contradicts_whatever_its_version() -> None:
    first, later, other = (
        DesiredLRP(process_guid="p", epoch=epoch, tag_index=index) for epoch, index in (("e", 1), ("e", 2), ("f", 0))
    )
    announced = AnnouncedVersions()
    assert not announced.contradicts([], [Delta("p", first, None)])
    assert not announced.contradicts([], [Delta("p", None, other)])
    assert announced.contradicts([], [Delta("p", other, later)])


def test_what_was_told_long_ago_is_forgotten() -> None:
    announced = AnnouncedVersions()
    announced.advance(0.0)
    announced.contradicts([Delta("e", row(4), None)], [])
    announced.advance(1000.0)
    assert not announced.contradicts([Delta("e", None, row(4))], [])
