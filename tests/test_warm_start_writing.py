"""When the state file of a mirror is written, and what goes wrong with it: a full disk, a useless file, two on one."""
# ruff: noqa: ASYNC240 - nobody else waits while these tests look at their files

import errno
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from mirror_support import GONE, Answer, FakeBBS, differences, simulated, small
from patience import PATIENCE
from sim_support import wanted
from warm_start_support import FailingDisk, T, Wall, at_once, one_life, state_file, warm

from lrpmirror import MirrorThread, Phase
from lrpmirror.errors import ConfigurationError, StateFileError
from lrpmirror.statefile import StateFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def one_life_that_fails(bbs: FakeBBS, file: StateFile) -> None:
    async with warm(bbs, file) as mirror:
        await mirror.wait_synced()
        raise ZeroDivisionError


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
    disk = FailingDisk(errno.ENOSPC)
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
        mirror.wait_synced(timeout=PATIENCE)
        rows = mirror.actual_lrps()
    bbs.refusal = GONE
    with MirrorThread(bbs, state_file=str(path)) as mirror:
        assert mirror.actual_lrps() == rows
        assert mirror.status.phase is Phase.STALE
        assert mirror.status.restored_at is not None
