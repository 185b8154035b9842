"""Views and subscriptions of a living mirror, on a mocked clock, over a BBS in memory."""

import logging
from collections.abc import Mapping
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from views_support import HOST, LRP, MemoryBBS, Notified, desired, hosts, in_mirror, running, settled

from lrpmirror.core.derived.derive import Process, View
from lrpmirror.core.rows.changes import Cause
from lrpmirror.errors import MirrorClosed
from lrpmirror.mirror import Mirror, MirrorView
from lrpmirror.views import HTTPRoutes, Processes

# The mapping


def test_a_view_is_a_read_only_mapping_that_is_there_at_once() -> None:
    async def body(mirror: Mirror) -> None:
        routes = await mirror.view(HTTPRoutes())

        assert [one.index for one in routes[HOST]] == [0]
        assert routes.get("unknown") is None
        assert HOST in routes
        assert (list(routes), len(routes)) == ([HOST], 1)
        with pytest.raises(KeyError):
            routes["unknown"]
        with pytest.raises(TypeError):
            routes[HOST] = ()  # type: ignore[index]
        assert repr(routes) == f"<view HTTPRoutes: 1 keys at revision {mirror.revision}>"

    in_mirror(MemoryBBS(LRP, running()), body)


def test_at_any_moment_a_view_is_of_the_revision_that_the_rows_are_of() -> None:
    bbs = MemoryBBS(LRP)

    async def body(mirror: Mirror) -> None:
        routes, health = await mirror.view(HTTPRoutes()), await mirror.view(Processes())

        def consistent(_: object) -> None:
            indexes = [row.index for row in mirror.actual_lrps("p")]
            assert [one.index for one in routes.get(HOST, ())] == indexes
            assert health["p"].running == len(indexes)
            assert routes.revision == health.revision == mirror.revision

        for subscribe in (mirror.subscribe, routes.subscribe, health.subscribe):
            subscribe(consistent)
        for index in range(5):
            await bbs.write(running(index=index))
        await bbs.write(*(running(index=index) for index in range(5, 10)))
        await bbs.remove(running(index=3))
        await settled()
        consistent(None)

    in_mirror(bbs, body)


class ByHost(View[str, int, int]):
    """How many instances are on each host address: what a user writes."""

    def derive(self, process: Process) -> Mapping[str, int]:
        return {row.address: 1 for row in process.rows}

    def combine(self, key: str, contributions: Mapping[str, int]) -> int:  # noqa: ARG002
        return sum(contributions.values())


def test_a_view_of_ones_own_takes_a_few_lines() -> None:
    bbs = MemoryBBS(*hosts(3))

    async def body(mirror: Mirror) -> None:
        view = await mirror.view(ByHost())
        assert view == {"10.0.0.1": 3}

        await bbs.write(running("p1", tag_index=1, address="10.0.0.2"))
        await settled()
        assert view == {"10.0.0.1": 2, "10.0.0.2": 1}

    in_mirror(bbs, body)


def test_views_come_and_go_while_the_mirror_lives() -> None:
    bbs = MemoryBBS(LRP)

    async def body(mirror: Mirror) -> None:
        first, notified = await mirror.view(HTTPRoutes()), Notified()
        first.subscribe(notified)
        await bbs.write(running(index=0))
        second = await mirror.view(HTTPRoutes())
        await settled()
        assert second[HOST] == first[HOST]
        first.drop()
        await bbs.write(running(index=1))
        await settled()

        assert [one.index for one in first[HOST]] == [0], "it stays as it was"
        assert [one.index for one in second[HOST]] == [0, 1]
        assert len(notified.changes) == 1
        with pytest.raises(MirrorClosed):
            first.subscribe(notified)

    in_mirror(bbs, body)


def test_a_closed_mirror_has_no_new_views_and_keeps_the_old_ones_as_they_are() -> None:
    kept: list[MirrorView[Any, Any]] = []
    mirrors: list[Mirror] = []

    async def body(mirror: Mirror) -> None:
        mirrors.append(mirror)
        kept.append(await mirror.view(HTTPRoutes()))
        await settled()

    in_mirror(MemoryBBS(LRP, running()), body)

    assert list(kept[0]) == [HOST]
    with pytest.raises(MirrorClosed):
        trio.run(mirrors[0].view, HTTPRoutes())


class FreshProcesses(View[str, bool, bool]):
    """The processes that there are, and whether their domain is fresh."""

    follows_domains = True

    def derive(self, process: Process) -> Mapping[str, bool]:
        return {process.guid: process.domain_fresh}

    def combine(self, key: str, contributions: Mapping[str, bool]) -> bool:
        return contributions[key]


def test_a_view_that_follows_domains_is_derived_again_when_one_turns_fresh_or_stale() -> None:
    bbs = MemoryBBS(desired("p"), desired("q", domain="tasks"))

    async def body(mirror: Mirror) -> None:
        view = await mirror.view(FreshProcesses())
        assert view == {"p": True, "q": False}

        bbs.fresh = ("tasks",)
        mirror.resync()
        await settled()
        assert view == {"p": False, "q": True}

    in_mirror(bbs, body)


def test_a_process_that_goes_with_the_list_that_changes_the_domains_is_gone_from_such_a_view() -> None:
    bbs = MemoryBBS(desired("p"), desired("q"))

    async def body(mirror: Mirror) -> None:
        view = await mirror.view(FreshProcesses())
        bbs.fresh = ("apps", "tasks")
        del bbs.lrps["p"]
        mirror.resync()
        await settled()

        assert view == {"q": True}

    in_mirror(bbs, body)


# A view that raises


class Picky(HTTPRoutes):
    def terms(self, process: Process, before: Any) -> Any:
        if process.routed is not None and process.routed.annotation == "broken":
            raise ValueError(f"cannot stand {process.guid}")
        return super().terms(process, before)


def test_a_view_that_raises_for_one_process_is_reported_once_and_keeps_its_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bbs = MemoryBBS(*hosts(2))

    async def body(mirror: Mirror) -> None:
        view = await mirror.view(Picky())
        broken = desired("p0", http=["new.example.com"], annotation="broken", tag_index=1)
        await bbs.write(broken)
        await bbs.write(running("p0", tag_index=1, address="10.0.0.2"))
        await bbs.write(running("p1", tag_index=1, address="10.0.0.2"))
        await settled()

        assert {name: [one.host for one in found] for name, found in view.items()} == {
            "0.example.com": ["10.0.0.1"],
            "1.example.com": ["10.0.0.2"],
        }
        assert {what: str(error) for what, error in view.failures.items()} == {"p0": "cannot stand p0"}
        assert view.failures["p0"].__traceback__ is None, "what the view had in its hands is not kept"

        await bbs.write(replace(broken, annotation="", tag_index=2))
        await settled()
        assert view.keys() == {"1.example.com", "new.example.com"}
        assert view.failures == {}

    in_mirror(bbs, body)

    (record,) = caplog.records
    assert record.name == "lrpmirror"
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "the view Picky failed on p0 and keeps what it had for it"
    assert record.exc_info is not None
    assert record.exc_info[2] is not None


# Routes of a domain that is not fresh, and of a desired LRP that is not known


def test_on_a_mirror_too_routes_outlive_a_list_that_lacks_their_desired_lrp_in_a_stale_domain() -> None:
    bbs = MemoryBBS(LRP, running(), domains=())

    async def body(mirror: Mirror) -> None:
        routes, notified = await mirror.view(HTTPRoutes()), Notified()
        routes.subscribe(notified, replay=False)
        del bbs.lrps["p"]
        mirror.resync()
        await settled()
        assert mirror.desired_lrp("p") is None
        assert HOST in routes
        assert notified.changes == []

        bbs.fresh = ("apps",)
        mirror.resync()
        await settled()
        assert HOST not in routes
        assert [(change.after, change.cause) for change in notified.changes] == [(None, Cause.SNAPSHOT)]

    in_mirror(bbs, body)


def test_an_instance_that_runs_without_a_known_desired_lrp_has_exactly_one_targeted_read() -> None:
    bbs = MemoryBBS()

    async def body(mirror: Mirror) -> None:
        routes, notified = await mirror.view(HTTPRoutes()), Notified()
        routes.subscribe(notified)
        await bbs.write(running())
        bbs.have(LRP)
        for tag_index in range(1, 20):
            await bbs.write(running(tag_index=tag_index))
            await trio.sleep(0.1)

        assert bbs.reads == [("desired", ("p",))]
        assert [one.index for one in routes[HOST]] == [0]
        assert [change.cause for change in notified.changes] == [Cause.REPAIR]

    in_mirror(bbs, body)


def test_one_that_the_server_does_not_know_either_is_not_asked_for_again() -> None:
    bbs = MemoryBBS()

    async def body(_: Mirror) -> None:
        for tag_index in range(20):
            await bbs.write(running(tag_index=tag_index))
            await trio.sleep(1)

        assert bbs.reads == [("desired", ("p",))]

    in_mirror(bbs, body)
