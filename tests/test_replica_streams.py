"""What a replica tells its subscribers: of every change, in a fail-over too, and of nothing that did not happen."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
from msgspec.structs import replace
from patience import PATIENCE
from replica_support import agree, following, on_loopback, replicating
from sim_support import NET, OTHER_NET, ROUTES, TAGS, A, B, C, diego, row, run, silent, types, wanted

from lrpmirror import BBSClient, Mirror
from lrpmirror.client import EventStream
from lrpmirror.detail import DesiredLRPDetail
from lrpmirror.errors import ConnectionFailed
from lrpmirror.events import (
    ActualLRPChanged,
    ActualLRPCrashed,
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
    UnknownEvent,
)
from lrpmirror.serve.readers import SLICE
from lrpmirror.serve.serving import ServedReplica
from lrpmirror.server import LIMIT
from lrpmirror.sim import Autopilot, Diego, Rates, ServedDiego, serve_diego


class Told:
    """What one subscriber is told."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._events: list[Event] = []

    async def next(self, count: int) -> list[Event]:
        with trio.fail_after(PATIENCE):
            while len(self._events) < count:
                self._events += await anext(aiter(self._stream))
        found, self._events = self._events[:count], self._events[count:]
        return found

    async def until(self, desired: str) -> list[Event]:
        """Return the events until that process is desired."""
        found = await self.next(1)
        while not (isinstance(found[-1], DesiredLRPCreated) and found[-1].desired_lrp.process_guid == desired):
            found += await self.next(1)
        return found

    async def until_closed(self) -> list[Event]:
        with suppress(ConnectionFailed), trio.fail_after(PATIENCE):
            async for events in self._stream:
                self._events += events
        return self._events


@asynccontextmanager
async def telling(
    simulated: Diego, stream: Any = "instances", cell_id: str = "", **options: Any
) -> AsyncIterator[tuple[Told, ServedDiego, ServedReplica]]:
    """A subscriber of a replica of the simulation, once the replica has synchronised."""
    async with serve_diego(simulated) as served, replicating(served.url, **options) as replica:
        await replica.mirror.wait_synced(5)
        async with BBSClient(replica.url) as client, client.events(stream, cell_id) as events:
            yield Told(events), served, replica


def bare(event: Event) -> Event:
    """Return the event without what diffs do not carry."""
    match event:
        case ActualLRPInstanceCreated() | ActualLRPInstanceRemoved():
            return replace(event, actual_lrp=silent(event.actual_lrp))
        case _:
            return event


def running(instances: int = 1, **fields: Any) -> Diego:
    simulated = diego()
    simulated.desire(wanted(instances=instances, **fields))
    run(simulated, A)
    return simulated


# Single changes


@on_loopback
async def test_a_subscriber_of_a_replica_is_told_what_a_subscriber_of_the_bbs_is_told() -> None:
    simulated = running(instances=3)
    async with (
        telling(simulated) as (notified, served, _),
        BBSClient(served.url) as there,
        there.events("instances") as real,
    ):
        simulated.trace_id = "trace-1"
        run(simulated, B, 1)
        simulated.start("p", 0, A, OTHER_NET, internal_routes=ROUTES, metric_tags=TAGS)
        simulated.crash("p", 0, A, "exited with 1")
        simulated.evacuate_running("p", 1, B, NET)
        simulated.remove_evacuating("p", 1, B)
        simulated.fail("p", 2, "insufficient resources: memory")
        simulated.update_desired("p", instances=2)
        run(simulated, C)
        simulated.lose_cell("cell-c")
        simulated.converge()
        simulated.return_cell("cell-c")
        simulated.converge()
        simulated.remove_desired("p")
        simulated.desire(wanted("last", instances=0))
        # A replica has the internal routes and metric tags of a start when it has read them: that is told once more.
        mine = [bare(event) for event in await notified.until("last")]
        theirs = [bare(event) for event in await Told(real).until("last")]
        assert [event for event in mine if event in theirs] == theirs
        assert {event.type for event in mine if event not in theirs} <= {"actual_lrp_instance_created"}
        assert len(theirs) > 15


@on_loopback
async def test_what_a_start_brings_and_its_diff_does_not_carry_is_told_once_it_was_read() -> None:
    simulated = diego()
    simulated.desire(wanted())
    async with telling(simulated) as (notified, _, _replica):
        run(simulated, A)
        claimed, started, whole = await notified.next(3)
        assert isinstance(claimed, ActualLRPInstanceChanged)
        assert isinstance(started, ActualLRPInstanceChanged)
        assert started.after.internal_routes == ()
        assert whole == ActualLRPInstanceCreated(row(simulated))


@on_loopback
async def test_a_crash_is_passed_on_on_both_streams() -> None:
    for stream in ("instances", "groups"):
        simulated = running()
        async with telling(simulated, stream) as (notified, _, _replica):
            simulated.crash("p", 0, A, "exited with 1")
            crashed, *_ = await notified.next(2)
            assert isinstance(crashed, ActualLRPCrashed)
            assert crashed.crash_reason == "exited with 1"


@on_loopback
async def test_an_event_that_nobody_knows_is_passed_on_as_it_is() -> None:
    simulated = running()
    async with telling(simulated) as (notified, _, _replica):
        simulated._publish("instances", UnknownEvent("actual_lrp_of_tomorrow", b"\x08\x01"))
        assert await notified.next(1) == [UnknownEvent("actual_lrp_of_tomorrow", b"\x08\x01")]


@on_loopback
async def test_an_event_that_changes_nothing_is_told_to_nobody() -> None:
    simulated = running()
    before = row(simulated)
    async with telling(simulated) as (notified, _, _replica):
        simulated._publish("instances", ActualLRPInstanceCreated(before))
        simulated._publish("instances", ActualLRPInstanceCreated(replace(before, tag_index=0)))
        simulated.update_desired("p", annotation="the next event")
        (event,) = await notified.next(1)
        assert isinstance(event, DesiredLRPChanged)


@on_loopback
async def test_a_subscriber_of_one_cell_is_told_of_that_cell_and_of_desired_lrps() -> None:
    simulated = running(instances=2)
    async with telling(simulated, cell_id="cell-b") as (notified, _, _replica):
        simulated.start("p", 0, A, OTHER_NET)
        run(simulated, B, 1)
        simulated.update_desired("p", annotation="x")
        assert types(await notified.next(3)) == ["changed", "changed", "desired_lrp_changed"]


@on_loopback
async def test_the_group_stream_has_whole_rows_in_their_slots() -> None:
    simulated = running()
    async with telling(simulated, "groups") as (notified, _, _replica):
        simulated.start("p", 0, A, OTHER_NET, internal_routes=ROUTES, metric_tags=TAGS)
        (event,) = await notified.next(1)
        assert isinstance(event, ActualLRPChanged)
        assert event.after.instance == row(simulated)
        assert event.after.evacuating is None


@on_loopback
async def test_a_desired_lrp_is_told_of_without_what_is_not_mirrored_unless_that_is_wanted() -> None:
    for detail in ("routing", "full"):
        simulated = running(detail=DesiredLRPDetail(image_username="somebody"))
        async with serve_diego(simulated) as served, replicating(served.url, detail=detail) as replica:
            await replica.mirror.wait_synced(5)
            async with BBSClient(replica.url) as client, client.events("instances", full=True) as events:
                simulated.update_desired("p", annotation="x")
                (event,) = await Told(events).next(1)
                assert isinstance(event, DesiredLRPChanged)
                assert event.after.detail is not None
                assert (event.after.detail.image_username == "somebody") is (detail == "full")


# A fail-over


@asynccontextmanager
async def down(served: ServedDiego, mirror: Mirror) -> AsyncIterator[None]:
    """The BBS is away while the block lasts, and the mirror has seen that it is back after it."""
    await served.host.refuse()
    served.host.cut()
    await mirror.wait_for(lambda mirror: not mirror.status.live, 5)
    yield
    await served.host.accept()
    await mirror.wait_for(lambda mirror: mirror.status.live, 5)


@on_loopback
async def test_when_the_bbs_fails_over_subscribers_are_told_the_difference_and_nothing_else() -> None:
    simulated = running(instances=4)
    run(simulated, B, 1)
    run(simulated, C, 2)
    simulated.desire(wanted("gone"))
    before = {each.index: each for each in simulated.actual_lrps(process_guid="p")}
    async with telling(simulated) as (notified, served, replica):
        async with down(served, replica.mirror):
            simulated.start("p", 0, A, OTHER_NET, internal_routes=ROUTES, metric_tags=TAGS)
            simulated.start("p", 0, A, NET, routable=False, internal_routes=ROUTES, metric_tags=TAGS)
            simulated.evacuate_running("p", 1, B, NET)
            simulated.crash("p", 2, C)
            simulated.remove("p", 3)
            simulated.remove_desired("gone")
        events = await notified.next(8)
        changed = [event for event in events if isinstance(event, ActualLRPInstanceChanged)]
        assert {(event.before.index, event.before.tag_index) for event in changed} == {
            (0, before[0].tag_index),
            (1, before[1].tag_index),
        }
        assert sorted(types(events)) == sorted(
            ["changed", "changed", "created", "created", "removed", "removed", "removed", "desired_lrp_removed"]
        )
        assert replica.mirror.counts.streams == 2
        simulated.update_desired("p", annotation="the next event")
        assert types(await notified.next(1)) == ["desired_lrp_changed"]


@on_loopback
async def test_a_fail_over_in_which_nothing_changed_is_told_to_nobody() -> None:
    simulated = running(instances=2)
    async with telling(simulated) as (notified, served, replica):
        async with down(served, replica.mirror):
            pass
        simulated.update_desired("p", annotation="the next event")
        assert types(await notified.next(1)) == ["desired_lrp_changed"]


@on_loopback
async def test_a_fail_over_that_changed_more_than_a_subscriber_may_leave_unread_is_told_to_all_who_read() -> None:
    simulated = running()
    many = LIMIT + 3 * SLICE
    async with telling(simulated) as (notified, served, replica):
        async with down(served, replica.mirror):
            simulated.update_desired("p", instances=many)
        events = await notified.next(many)
        assert sorted(types(events)) == ["created"] * (many - 1) + ["desired_lrp_changed"]
        assert replica.replica.readers.dropped == 0


@on_loopback
async def test_a_desired_lrp_that_is_missing_while_nobody_vouches_for_that_is_not_told_to_be_removed() -> None:
    simulated = running()
    simulated.desire(wanted("maybe", domain="unfresh"))
    async with telling(simulated) as (notified, served, replica):
        async with down(served, replica.mirror):
            simulated.remove_desired("maybe")
        assert replica.mirror.desired_lrp("maybe") is None
        simulated.update_desired("p", annotation="the next event")
        events = await notified.next(2)
        assert types(events) == ["removed", "desired_lrp_changed"]  # the row's removal
        simulated.upsert_domain("unfresh")
        replica.mirror.resync()
        (gone,) = await notified.next(1)
        assert isinstance(gone, DesiredLRPRemoved)
        assert gone.desired_lrp.process_guid == "maybe"


@on_loopback
async def test_a_desired_lrp_that_comes_back_before_its_removal_was_told_is_told_as_it_is() -> None:
    simulated = running()
    simulated.desire(wanted("maybe", domain="unfresh"))
    (kept,) = simulated.desired_lrps(process_guids=["maybe"])
    async with telling(simulated) as (notified, served, replica):
        async with down(served, replica.mirror):
            del simulated._state.desired["maybe"]
        async with down(served, replica.mirror):
            simulated.adopt(desired_lrps=[replace(kept, annotation="back", tag_index=kept.tag_index + 1)])
        (event,) = await notified.next(1)
        assert isinstance(event, DesiredLRPChanged)
        assert (event.before.annotation, event.after.annotation) == ("", "back")


@on_loopback
async def test_a_record_that_comes_back_in_a_version_told_to_be_gone_closes_the_streams() -> None:
    simulated = running()
    before = row(simulated)
    async with telling(simulated) as (notified, served, replica), following(replica.url) as mirror:
        await mirror.wait_synced(5)
        simulated.remove("p", 0)
        assert types(await notified.next(1)) == ["removed"]
        async with down(served, replica.mirror):
            simulated.adopt(rows=[before])
        assert await notified.until_closed() == []
        assert replica.replica.closures == 1
        await agree(mirror, simulated)


# Slow subscribers


@on_loopback
async def test_a_subscriber_that_falls_behind_is_closed_without_harm_to_others() -> None:
    simulated = running()
    async with (
        telling(simulated) as (notified, _, replica),
        await trio.open_tcp_stream("127.0.0.1", replica.host.port) as slow,
    ):
        await slow.send_all(b"POST /v1/events/lrp_instances.r1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await slow.receive_some(1024)
        big = "x" * 10_000
        number = 0
        while not replica.replica.readers.dropped:
            for number in range(number + 1, number + 101):  # noqa: B020 - goes on where it was
                simulated.update_desired("p", annotation=f"{number} {big}")
            assert types(await notified.next(100)) == ["desired_lrp_changed"] * 100
        assert number > LIMIT
        simulated.update_desired("p", annotation="the next event")
        (event,) = await notified.next(1)
        assert isinstance(event, DesiredLRPChanged)
        assert event.after.annotation == "the next event"
        assert replica.replica.readers.pending("instances") == [0]


# Whoever follows, and whoever follows that


BUSY = Rates(deploys=1, scalings=2, crashes=3, routable_changes=2, evacuations=0.3, cell_losses=0.1)


class Restartable:
    """A replica that can be stopped and started again, on the same port."""

    def __init__(self, nursery: trio.Nursery, url: str) -> None:
        self._nursery = nursery
        self._origin = url
        self._port = 0
        self._scope: trio.CancelScope
        self.served: ServedReplica

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        self._scope = await self._nursery.start(self._run)

    def stop(self) -> None:
        self._scope.cancel()

    async def _run(self, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            async with replicating(self._origin, port=self._port) as self.served:
                self._port = self.served.host.port
                task_status.started(scope)
                await trio.sleep_forever()


@on_loopback
async def test_a_mirror_on_a_replica_on_a_replica_equals_the_bbs_through_restarts_of_each() -> None:
    simulated = Diego(seed=11)
    pilot = Autopilot(simulated, seed=11, apps=10, cells=4, rates=BUSY)
    pilot.run(40)

    async def live(steps: int = 8) -> None:
        for _ in range(steps):
            pilot.step()
            await trio.sleep(0.005)

    async with serve_diego(simulated) as served, trio.open_nursery() as nursery:
        near = Restartable(nursery, served.url)
        await near.start()
        far = Restartable(nursery, near.url)
        await far.start()
        async with following(far.url) as mirror:
            await mirror.wait_synced(5)
            await live()
            await agree(mirror, simulated)
            await served.host.refuse()
            served.host.cut()
            await live()
            await served.host.accept()
            await live()
            await agree(mirror, simulated)
            assert mirror.counts.streams == 1
            for each in (near, far):
                each.stop()
                await live()
                await each.start()
                await live()
                await agree(mirror, simulated)
            assert mirror.counts.streams >= 2
            assert set(mirror.counts.errors) <= {"ConnectionFailed", "ServiceUnavailable", "UpstreamStale"}
        nursery.cancel_scope.cancel()


@on_loopback
async def test_a_mirror_that_is_only_told_of_events_equals_the_bbs() -> None:
    simulated = Diego(seed=12)
    pilot = Autopilot(simulated, seed=12, apps=10, cells=4, rates=BUSY)
    pilot.run(40)
    async with (
        serve_diego(simulated) as served,
        replicating(served.url) as replica,
        following(replica.url) as by_rows,
        following(replica.url, stream="groups") as by_groups,
    ):
        for mirror in (by_rows, by_groups):
            await mirror.wait_synced(5)
        for _ in range(30):
            pilot.step()
            await trio.sleep(0.005)
        await agree(by_rows, simulated)
        assert by_rows.counts.lists.keys() <= {"first", "repair"}
        # The group stream does not tell of rows that no slot shows.
        by_groups.resync()
        await agree(by_groups, simulated)
