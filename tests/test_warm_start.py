"""Warm start, end to end: a mirror in its next life, with the state of the one before."""
# ruff: noqa: ASYNC240 - nobody else waits while these tests look at their files

import errno
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from mirror_support import (
    GONE,
    Answer,
    FakeBBS,
    differences,
    lively,
    mirroring,
    settled,
    simulated,
    small,
)
from msgspec.structs import replace
from sim_support import A, wanted

from lrpmirror import ActualLRP, Cause, Change, DesiredLRP, Mirror, MirrorThread, ModificationTag, Phase
from lrpmirror.core.rows.changes import Commit
from lrpmirror.detail import DesiredLRPDetail, EnvironmentVariable
from lrpmirror.errors import ConfigurationError, NotFresh, NotSynced, StateFileError
from lrpmirror.events import Event
from lrpmirror.sim import Diego
from lrpmirror.statefile import Disk, StateFile
from lrpmirror.views import AnyView, Cells, HTTPRoutes, InternalRoutes, Process, Processes, TCPRoutes, View

T = TypeVar("T")

SECRETS = ("marked-key", "marked-environment")


async def at_once(work: Callable[[], T]) -> T:
    """In place of a thread, which the mock clock would not wait for."""
    await trio.lowlevel.checkpoint()
    return work()


class Wall:
    """The clock on the wall, which goes with the mock clock until somebody sets it."""

    def __init__(self) -> None:
        self.ahead = 1e9

    def __call__(self) -> float:
        return trio.current_time() + self.ahead


class Broken(Disk):
    """A disk that is full until it is told otherwise."""

    def __init__(self) -> None:
        self.number = errno.ENOSPC

    def write(self, descriptor: int, data: bytes) -> None:
        if self.number:
            raise OSError(self.number, os.strerror(self.number))
        super().write(descriptor, data)


class Commits:
    """A observer that keeps the commits of lists."""

    def __init__(self) -> None:
        self.listed_commits: list[Commit] = []

    def event(self, event: Event, outcome: object, commit: Commit | None) -> None:
        pass

    def listed(self, commit: Commit) -> None:
        self.listed_commits.append(commit)


def state_file(path: Path, wall: Callable[[], float] | None = None, disk: Disk | None = None) -> StateFile:
    return StateFile(path, wall=wall or Wall(), disk=disk, offload=at_once)


def warm(bbs: FakeBBS, file: StateFile, **options: Any) -> AbstractAsyncContextManager[Mirror]:
    return mirroring(bbs, state_file=file, **options)


async def one_life(bbs: FakeBBS, file: StateFile, **options: Any) -> int:
    """Open a mirror, have it synchronised, close it; return its revision."""
    async with warm(bbs, file, **options) as mirror:
        await mirror.wait_synced()
        return mirror.revision


async def one_life_that_fails(bbs: FakeBBS, file: StateFile) -> None:
    async with warm(bbs, file) as mirror:
        await mirror.wait_synced()
        raise ZeroDivisionError


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


# When it is written


@simulated
async def test_the_file_is_written_at_an_interval_and_only_where_something_has_changed(path: Path) -> None:
    diego = small()
    bbs = FakeBBS(diego)
    async with warm(bbs, state_file(path), state_interval=60.0) as mirror:
        await mirror.wait_synced()
        await trio.sleep(59)
        assert not path.exists()
        await trio.sleep(2)
        written = path.stat().st_mtime_ns, path.stat().st_ino
        await trio.sleep(1000)
        assert (path.stat().st_mtime_ns, path.stat().st_ino) == written
        diego.desire(wanted("q"))
        await trio.sleep(61)
        assert (path.stat().st_mtime_ns, path.stat().st_ino) != written
        found = StateFile(path).load("")
        assert found is not None
        assert found.exported.revision == mirror.revision


@simulated
async def test_the_file_is_written_when_the_mirror_is_cancelled(path: Path) -> None:
    bbs = FakeBBS(small())
    with trio.CancelScope() as scope:
        async with warm(bbs, state_file(path)) as mirror:
            await mirror.wait_synced()
            scope.cancel()
            await trio.sleep_forever()
    found = StateFile(path).load("")
    assert found is not None
    assert len(found.exported.actual_lrps) == 1


@simulated
async def test_the_file_is_written_when_the_block_fails(path: Path) -> None:
    bbs = FakeBBS(small())
    with pytest.raises(ZeroDivisionError):
        await one_life_that_fails(bbs, state_file(path))
    assert path.exists()


@simulated
async def test_closing_does_not_wait_for_ever_for_a_disk(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def never(work: Callable[[], T]) -> T:
        if hanging:
            await trio.sleep_forever()
        return await at_once(work)

    hanging = False
    bbs = FakeBBS(small())
    file = StateFile(path, wall=Wall(), offload=never)
    async with warm(bbs, file, state_patience=10.0) as mirror:
        await mirror.wait_synced()
        hanging = True
        before = trio.current_time()
    assert trio.current_time() - before == pytest.approx(10)
    assert "could not be written within 10.0 s of closing" in caplog.text
    assert not path.exists()


# What goes wrong


@simulated
async def test_a_disk_that_is_full_is_said_once_and_the_mirror_goes_on(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    diego = small()
    bbs = FakeBBS(diego)
    await one_life(bbs, state_file(path))
    before = path.read_bytes()
    disk = Broken()
    async with warm(bbs, state_file(path, disk=disk), state_interval=60.0) as mirror:
        await mirror.wait_synced()
        for n in range(5):
            diego.desire(wanted(f"q{n}"))
            await trio.sleep(60)
        assert caplog.text.count("No space left on device") == 1
        assert isinstance(mirror.status.last_error, StateFileError)
        assert mirror.counts.errors["StateFileError"] >= 4
        assert mirror.status.live
        assert path.read_bytes() == before
        disk.number = errno.EROFS
        await trio.sleep(61)
        assert caplog.text.count("Read-only file system") == 1
        disk.number = 0
        await trio.sleep(61)
        found = StateFile(path).load("")
        assert found is not None
        assert found.exported.revision == mirror.revision
    assert caplog.text.count("cannot be written") == 2


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda data: data[:-1], "damaged"),
        (lambda data: data[:40] + b"\0" + data[41:], "damaged"),
        (lambda _: b"127.0.0.1 localhost\n", "foreign"),
        (lambda data: data.replace(b"state 1", b"state 2"), "future"),
        (lambda _: b"", "damaged"),
    ],
)
@simulated
async def test_a_file_that_is_of_no_use_is_said_set_aside_and_the_mirror_begins_without(
    path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[bytes], bytes], kind: str
) -> None:
    bbs = FakeBBS(small())
    await one_life(bbs, state_file(path))
    path.write_bytes(spoil(path.read_bytes()))
    bbs.once("domains", Answer(before=1))
    async with warm(bbs, state_file(path)) as mirror:
        assert mirror.status.phase is Phase.CONNECTING
        assert mirror.revision == 0
        assert isinstance(mirror.status.last_error, StateFileError)
        assert mirror.counts.errors == {"StateFileError": 1}
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert f"{path}.{kind}" in caplog.text
        await mirror.wait_synced()
        assert not differences(mirror, bbs.diego)
    assert StateFile(path).load("") is not None
    assert Path(f"{path}.{kind}").exists()


@simulated
async def test_the_file_of_another_bbs_is_foreign(path: Path) -> None:
    bbs = FakeBBS(small())
    await one_life(bbs, state_file(path))
    other = FakeBBS(small())
    other.url = "https://other.example"  # type: ignore[attr-defined]
    async with warm(other, state_file(path)) as mirror:
        assert mirror.actual_lrps() == ()
        assert "https://other.example" in str(mirror.status.last_error)


@simulated
async def test_two_mirrors_on_one_file_are_a_mistake_and_one_after_the_other_are_not(path: Path) -> None:
    bbs = FakeBBS(small())
    async with warm(bbs, state_file(path)):
        with pytest.raises(ConfigurationError, match="is in use by another mirror"):
            async with warm(bbs, state_file(path)):
                pass
    await one_life(bbs, state_file(path))


@simulated
async def test_a_file_that_an_operator_has_to_mend_keeps_the_mirror_from_opening(path: Path) -> None:
    path.mkdir()
    bbs = FakeBBS(small())
    with pytest.raises(ConfigurationError, match="is a directory"):
        async with warm(bbs, state_file(path)):
            pass
    assert bbs.tries == []


@simulated
async def test_a_mirror_that_is_cancelled_while_it_opens_leaves_no_lock(path: Path) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with warm(FakeBBS(small()), state_file(path)):
            pass
    file = StateFile(path)
    file.acquire()
    file.release()


# With real threads and clocks


def test_the_mirror_of_other_programs_keeps_its_state_too(path: Path) -> None:
    bbs = FakeBBS(small())
    with MirrorThread(bbs, state_file=path) as mirror:
        mirror.wait_synced(timeout=10)
        rows = mirror.actual_lrps()
    bbs.refusal = GONE
    with MirrorThread(bbs, state_file=str(path)) as mirror:
        assert mirror.actual_lrps() == rows
        assert mirror.status.phase is Phase.STALE
        assert mirror.status.restored_at is not None
