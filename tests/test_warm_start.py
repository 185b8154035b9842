"""Warm start, end to end: a mirror in its next life, with the state of the one before."""
# ruff: noqa: ASYNC240 - nobody else waits while these tests look at their files

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio
from mirror_support import GONE, Answer, FakeBBS, differences, lively, settled, simulated, small
from msgspec.structs import replace
from sim_support import A, wanted
from warm_start_support import Wall, one_life, state_file, warm

from lrpmirror import ActualLRP, Cause, Change, DesiredLRP, Mirror, ModificationTag, Phase
from lrpmirror.core.rows.changes import Commit
from lrpmirror.detail import DesiredLRPDetail, EnvironmentVariable
from lrpmirror.errors import NotFresh, NotSynced
from lrpmirror.events import Event
from lrpmirror.sim import Diego
from lrpmirror.views import AnyView, Cells, HTTPRoutes, InternalRoutes, Process, Processes, TCPRoutes, View

SECRETS = ("marked-key", "marked-environment")


class Commits:
    """A observer that keeps the commits of lists."""

    def __init__(self) -> None:
        self.listed_commits: list[Commit] = []

    def event(self, event: Event, outcome: object, commit: Commit | None) -> None:
        pass

    def listed(self, commit: Commit) -> None:
        self.listed_commits.append(commit)


def with_secrets() -> DesiredLRP:
    detail = DesiredLRPDetail(environment_variables=(EnvironmentVariable(name="A", value="marked-environment"),))
    routes = {"cf-router": b'[{"hostnames":["a.example"],"port":8080}]', "diego-ssh": b'{"private_key":"marked-key"}'}
    return replace(wanted("s"), routes=routes, detail=detail)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


# What is there after a restart


@simulated
async def test_the_state_is_there_before_the_bbs_is_and_says_how_old_it_is(path: Path) -> None:
    bbs = FakeBBS(small())
    wall = Wall()
    revision = await one_life(bbs, state_file(path, wall))
    bbs.refusal = GONE
    wall.ahead += 3600
    async with warm(bbs, state_file(path, wall)) as mirror:
        status = mirror.status
        assert status.phase is Phase.STALE
        assert status.age == pytest.approx(3600)
        assert status.restored_at == pytest.approx(trio.current_time() - 3600)
        assert status.synced_at is None
        assert mirror.revision == revision
        assert not differences(mirror, bbs.diego)
        await trio.sleep(10)
        assert mirror.status.phase is Phase.STALE
        assert mirror.status.age == pytest.approx(3610)
        with pytest.raises(NotSynced, match="refused by the test"):
            await mirror.wait_synced(timeout=1)


@simulated
async def test_a_state_from_before_the_clock_on_the_wall_was_set_back_is_there_and_not_fresh(path: Path) -> None:
    bbs = FakeBBS(small())
    wall = Wall()
    await one_life(bbs, state_file(path, wall))
    bbs.refusal = GONE
    wall.ahead -= 3600
    async with warm(bbs, state_file(path, wall)) as mirror:
        assert len(mirror.actual_lrps()) == 1
        assert (mirror.status.age, mirror.status.state_age, mirror.status.restored_at) == (None, None, -inf)
        with pytest.raises(NotFresh, match="the mirror is stale and has a state whose age is not known"):
            mirror.check_fresh(1e9)
        assert "the clock was set back" in str(mirror.status.last_error)
        bbs.refusal = None
        await mirror.wait_synced(timeout=60)
        mirror.check_fresh(1)


@simulated
async def test_while_the_first_lists_are_read_the_state_stays_and_its_age_can_be_told(path: Path) -> None:
    bbs = FakeBBS(small())
    wall = Wall()
    await one_life(bbs, state_file(path, wall))
    wall.ahead += 3600
    bbs.once("actual_lrps", Answer(before=5))
    async with warm(bbs, state_file(path, wall)) as mirror:
        await settled()
        bbs.diego.crash("p", 0, A)
        await trio.sleep(1)
        assert mirror.status.phase is Phase.RESYNCING
        assert mirror.actual_lrps("p")[0].state == "RUNNING"
        restored_at = mirror.status.restored_at
        assert restored_at is not None
        assert mirror.status.at - restored_at == pytest.approx(3601)
        assert mirror.status.state_age == pytest.approx(3601)
        with pytest.raises(NotFresh, match=r"has a state that is 3601\.0 s old"):
            mirror.check_fresh(60)
        await mirror.wait_synced()
        assert mirror.status.restored_at is None
        mirror.check_fresh(60)
        assert not differences(mirror, bbs.diego)


@simulated
async def test_views_and_subscribers_have_the_state_at_once_and_then_the_difference(path: Path) -> None:
    diego = small()
    bbs = FakeBBS(diego)
    await one_life(bbs, state_file(path))
    bbs.refusal = GONE
    notified: list[Change[Any, Any]] = []
    async with warm(bbs, state_file(path)) as mirror:
        health = await mirror.view(Processes())
        assert health["p"].running == 1
        mirror.subscribe(notified.append)
        await settled()
        assert [(change.cause, change.revision) for change in notified] == [(Cause.REPLAY, mirror.revision)]
        diego.remove("p", 0, A)
        bbs.refusal = None
        await mirror.wait_synced()
        await settled()
        assert [change.cause for change in notified] == [Cause.REPLAY, Cause.SNAPSHOT]
        assert "p" not in health or health["p"].running == 0


# The first commit

VIEWS: tuple[AnyView[Any, Any, Any], ...] = (HTTPRoutes(), TCPRoutes(), InternalRoutes(), Processes(), Cells())


def differing_keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def rows_of(source: Mirror | Diego) -> dict[str, ActualLRP]:
    return {row.epoch: row for row in source.actual_lrps()}


def versions_of(source: Mirror | Diego) -> dict[str, ModificationTag]:
    return {lrp.process_guid: lrp.modification_tag for lrp in source.desired_lrps()}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("detail", ["routing", "full"])
@simulated
async def test_the_first_commit_is_exactly_the_difference(path: Path, seed: int, detail: str) -> None:
    diego, autopilot = lively(seed)
    diego.desire(with_secrets())
    bbs = FakeBBS(diego, batch=3)
    revision = await one_life(bbs, state_file(path), detail=detail)
    bbs.refusal = GONE
    autopilot.run(seed * 4)
    commits = Commits()
    async with warm(bbs, state_file(path), detail=detail, resync_interval=1e9) as mirror:
        rows = differing_keys(rows_of(mirror), rows_of(diego))
        lrps = differing_keys(versions_of(mirror), versions_of(diego))
        views = [await mirror.view(view) for view in VIEWS]
        with mirror.observed(commits):
            bbs.refusal = None
            await mirror.wait_synced()
        assert not differences(mirror, diego, full=detail == "full")
        for view, again in zip(views, VIEWS, strict=True):
            assert view.copy() == (await mirror.view(again)).copy()
        notified = [
            (one.revision, {row.key for row in one.actual_lrps}, {lrp.key for lrp in one.desired_lrps})
            for one in commits.listed_commits
        ]
        assert notified == ([(revision + 1, rows, lrps)] if seed else [])
        assert mirror.revision == revision + len(notified)


@simulated
async def test_where_nothing_has_changed_nothing_is_committed_and_the_secrets_are_back(path: Path) -> None:
    diego = small()
    diego.desire(with_secrets())
    bbs = FakeBBS(diego)
    revision = await one_life(bbs, state_file(path), detail="full")
    data = path.read_bytes()
    assert [secret for secret in SECRETS if secret.encode() in data] == []
    commits, notified = Commits(), list[Change[str, DesiredLRP]]()
    bbs.once("actual_lrps", Answer(before=1))
    async with warm(bbs, state_file(path), detail="full") as mirror:
        restored = mirror.desired_lrp("s")
        assert restored is not None
        assert restored.detail is None
        assert restored.routes["diego-ssh"] == b"null"
        mirror.subscribe_desired(notified.append)
        await settled()
        notified.clear()
        with mirror.observed(commits):
            await mirror.wait_synced()
            await settled()
        assert mirror.revision == revision
        assert commits.listed_commits == []
        assert notified == []
        assert not differences(mirror, diego, full=True)


class Keys(View[str, bytes, bytes]):
    """A view of what a state file leaves out."""

    def derive(self, process: Process) -> dict[str, bytes]:
        return {} if process.desired is None else dict(process.desired.routes)

    def combine(self, key: str, contributions: Any) -> bytes:  # noqa: ARG002 - of any key
        return b"".join(contributions.values())


@pytest.mark.parametrize("changes", [False, True])
@simulated
async def test_a_view_of_what_was_left_out_is_derived_again_when_it_is_back(path: Path, changes: bool) -> None:
    diego = small()
    diego.desire(with_secrets())
    bbs = FakeBBS(diego)
    await one_life(bbs, state_file(path))
    if changes:
        diego.remove("p", 0, A)
    bbs.once("actual_lrps", Answer(before=1))
    notified: list[Change[str, bytes]] = []
    async with warm(bbs, state_file(path)) as mirror:
        keys = await mirror.view(Keys())
        assert keys["diego-ssh"] == b"null"
        keys.subscribe(notified.append, replay=False)
        await mirror.wait_synced()
        await settled()
        assert b"marked-key" in keys["diego-ssh"]
        assert [(change.key, change.cause, change.revision) for change in notified] == [
            ("diego-ssh", Cause.SNAPSHOT, mirror.revision)
        ]


@simulated
async def test_a_life_that_never_reached_the_bbs_leaves_the_file_as_it_was(path: Path) -> None:
    bbs = FakeBBS(small())
    wall = Wall()
    await one_life(bbs, state_file(path, wall))
    before = path.read_bytes()
    bbs.refusal = GONE
    for _ in range(2):
        async with warm(bbs, state_file(path, wall)):
            await trio.sleep(1000)
    assert path.read_bytes() == before
    async with warm(bbs, state_file(path, wall)) as mirror:
        assert mirror.status.age == pytest.approx(2000)


@simulated
async def test_the_age_of_a_state_without_a_stream_counts_from_when_it_was_lost(path: Path) -> None:
    bbs = FakeBBS(small())
    wall = Wall()
    async with warm(bbs, state_file(path, wall), resync_interval=1e9) as mirror:
        await mirror.wait_synced()
        bbs.refusal = GONE
        bbs.cut()
        await trio.sleep(500)
    async with warm(bbs, state_file(path, wall)) as mirror:
        assert mirror.status.age == pytest.approx(500)
