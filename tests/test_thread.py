"""A mirror in a thread of its own: its life, its waits, its end."""

import asyncio
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import trio
import trio.testing
from thread_support import PATIENCE, FakeBBS, InThread, Versions, changed, created, entered, row, synced

from lrpmirror import TLS, MirrorThread, ModificationTag, Phase
from lrpmirror.errors import ConfigurationError, ConnectionFailed, MirrorError, NotSeen, NotSynced
from lrpmirror.thread._portal import Portal

URL = "http://127.0.0.1:1"


pytestmark = pytest.mark.usefixtures("no_thread_outlives")


# The beginning


def test_entering_raises_what_is_wrong_with_the_options_to_the_caller() -> None:
    with pytest.raises(ConfigurationError, match="stream='both'"), MirrorThread(URL, stream="both"):  # type: ignore[arg-type]
        pass


def test_a_start_up_error_keeps_its_cause_and_the_traceback_of_the_thread(tmp_path: Path) -> None:
    tls = TLS(ca=tmp_path / "missing.pem")
    with pytest.raises(ConfigurationError) as caught, MirrorThread("https://127.0.0.1:1", tls=tls):
        pass
    assert isinstance(caught.value.__cause__, OSError)
    assert any("open_mirror" in entry.name for entry in caught.traceback)


def test_entering_does_not_wait_for_the_bbs() -> None:
    with entered(FakeBBS(hang=True)) as mirror:
        assert mirror.status.phase in (Phase.CONNECTING, Phase.SYNCING)
        assert mirror.actual_lrps() == ()


def test_a_client_that_is_a_block_of_its_own_is_entered_in_the_mirrors_thread() -> None:
    class Client(FakeBBS):
        entered_in = left_in = ""

        async def __aenter__(self) -> Self:
            self.entered_in = threading.current_thread().name
            return self

        async def __aexit__(self, *_: object) -> None:
            self.left_in = threading.current_thread().name

    client = Client([row()])
    with synced(client, name="the-mirror"):
        pass
    assert (client.entered_in, client.left_in) == ("the-mirror", "the-mirror")


def test_before_it_is_entered_there_is_nothing_to_read() -> None:
    mirror = MirrorThread(URL)
    for use in (lambda: mirror.status, mirror.actual_lrps, mirror.wait_synced, lambda: mirror.view(Versions())):
        with pytest.raises(MirrorError, match="enter the MirrorThread"):
            use()
    mirror.close()


def test_it_is_entered_once() -> None:
    with entered(FakeBBS()) as mirror, pytest.raises(MirrorError, match="once"):
        mirror.__enter__()
    with pytest.raises(MirrorError, match="once"):
        mirror.__enter__()


# Waiting


def test_wait_synced_returns_once_the_state_is_there() -> None:
    with entered(FakeBBS([row()])) as mirror:
        mirror.wait_synced(PATIENCE)
        assert mirror.actual_lrps("p") == (row(),)
        assert mirror.status.phase is Phase.LIVE


def test_wait_synced_says_what_kept_it() -> None:
    bbs = FakeBBS(refused=True)
    with entered(bbs) as mirror:
        mirror.wait_for(lambda one: one.status.last_error is not None, PATIENCE)
        with pytest.raises(NotSynced, match="refused") as caught:
            mirror.wait_synced(0)
    assert isinstance(caught.value.__cause__, ConnectionFailed)


def test_a_wait_can_last_for_ever() -> None:
    with entered(FakeBBS([row()])) as mirror:
        mirror.wait_synced(float("inf"))


def test_wait_for_is_told_of_each_commit() -> None:
    bbs = FakeBBS([row()])
    with synced(bbs) as mirror:
        waiting = InThread(lambda: mirror.wait_for(lambda one: one.actual_lrps("p")[0].tag_index == 2, PATIENCE))
        bbs.push(changed(row()), changed(row(version=1)))
        waiting.result()
        assert mirror.revision == 3


def test_wait_for_says_what_did_not_come() -> None:
    with (
        synced(FakeBBS([row()])) as mirror,
        pytest.raises(NotSeen, match=r"a second row did not come within 0 s.*live"),
    ):
        mirror.wait_for(lambda one: len(one.actual_lrps()) > 1, 0, what="a second row")


def test_a_predicate_that_raises_raises_to_the_waiting_thread_and_harms_nothing() -> None:
    with synced(FakeBBS([row()])) as mirror:
        with pytest.raises(ZeroDivisionError):
            mirror.wait_for(lambda _: bool(1 // 0), PATIENCE)
        assert mirror.status.live


def test_wait_for_tag_reads_what_was_written() -> None:
    bbs = FakeBBS([row()])
    with synced(bbs) as mirror:
        tag = ModificationTag("epoch-p-0", 1)
        assert not mirror.has_seen("p", tag)
        with pytest.raises(NotSeen, match=r"tag epoch-p-0:1.*it has: epoch-p-0:0"):
            mirror.wait_for_tag("p", tag, 0)
        bbs.push(changed(row()))
        mirror.wait_for_tag("p", tag, PATIENCE)
        assert mirror.has_seen("p", tag)


def test_ctrl_c_ends_a_wait_and_leaves_nothing_behind() -> None:
    bbs = FakeBBS([row()])
    calls = 0

    def interrupt(_: MirrorThread) -> bool:
        nonlocal calls
        calls += 1
        # Once: the mirror may ask again before this thread gets its turn, and a second signal would hit whatever comes
        # next.
        if calls == 1:
            # A little later, when the main thread is sure to be waiting.
            main = threading.main_thread().ident or 0
            threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()
        return False

    with synced(bbs) as mirror:
        with pytest.raises(KeyboardInterrupt):
            mirror.wait_for(interrupt)
        asked = calls
        bbs.push(changed(row()))
        mirror.wait_for(lambda one: one.revision == 2, PATIENCE)
        assert calls == asked


def test_ctrl_c_at_the_very_beginning_of_a_wait_leaves_nothing_behind_either(monkeypatch: pytest.MonkeyPatch) -> None:
    bbs = FakeBBS([row()])
    enter, calls = Portal._enter, 0

    def entered_and_interrupted(self: Portal, function: Callable[[], object]) -> None:
        enter(self, function)
        raise KeyboardInterrupt

    def asked(_: MirrorThread) -> bool:
        nonlocal calls
        calls += 1
        return False

    with synced(bbs) as mirror:
        with monkeypatch.context() as patch:
            patch.setattr(Portal, "_enter", entered_and_interrupted)
            with pytest.raises(KeyboardInterrupt):
                mirror.wait_for(asked)
        mirror.wait_for(lambda one: one.revision == 1, PATIENCE)
        before = calls
        bbs.push(changed(row()))
        mirror.wait_for(lambda one: one.revision == 2, PATIENCE)
        assert calls == before


def test_a_wait_in_a_callback_of_the_mirrors_thread_is_refused_rather_than_stuck() -> None:
    with synced(FakeBBS([row()])) as mirror:
        mirror.subscribe(lambda _: mirror.wait_synced())
        with pytest.raises(MirrorError, match="wait for itself"):
            mirror.wait_for(lambda _: False, PATIENCE)


def test_a_wait_keeps_to_its_timeout_though_a_callback_holds_the_mirrors_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lrpmirror.thread._portal.PATIENCE", 0.01)
    begun, release = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        begun.set()
        release.wait(PATIENCE)

    with synced(FakeBBS([row()])) as mirror:
        mirror.subscribe(hold)
        assert begun.wait(PATIENCE)
        with pytest.raises(NotSeen, match="busy"):
            mirror.wait_for(lambda _: True, 0.01)
        assert mirror.status.live
        assert mirror.actual_lrps() == (row(),)
        release.set()


def test_resync_lists_everything_again() -> None:
    bbs = FakeBBS([row()])
    with synced(bbs) as mirror:
        bbs.rows = (row(version=7),)
        mirror.resync()
        mirror.wait_for(lambda one: one.actual_lrps("p") == (row(version=7),), PATIENCE)


def test_reads_of_one_revision_are_made_between_commits() -> None:
    bbs = FakeBBS([row()])
    with synced(bbs) as mirror:
        versions = mirror.view(Versions())
        where, view, rows = mirror.consistently(
            lambda: (threading.current_thread().name, versions.copy(), mirror.actual_lrps())
        )
        assert (where, view, rows) == ("lrpmirror", {"p": 0}, (row(),))
        with pytest.raises(ZeroDivisionError):
            mirror.consistently(lambda: 1 // 0)


# Failure


def _fail(_: object) -> None:
    raise ZeroDivisionError("as the test wants it")


def test_a_failure_is_raised_by_the_next_wait_and_not_again_by_leaving() -> None:
    with synced(FakeBBS([row()])) as mirror:
        mirror.subscribe(_fail)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError, match="as the test wants it") as caught:
                mirror.wait_for(lambda _: False, PATIENCE)
        assert any(entry.name == "_fail" for entry in caught.traceback)
        assert mirror.status.phase is Phase.CLOSED
        assert isinstance(mirror.status.last_error, MirrorError)
        assert isinstance(mirror.status.last_error.__cause__, ZeroDivisionError)
        assert mirror.actual_lrps("p") == (row(),)


def test_a_failure_that_nobody_waited_for_is_raised_by_leaving() -> None:
    mirror = MirrorThread(FakeBBS([row()]))
    failed = threading.Event()

    def fail(_: object) -> None:
        failed.set()
        _fail(_)

    with pytest.raises(ZeroDivisionError), mirror:  # noqa: PT012 - what leaves the block is the point
        mirror.subscribe(fail)
        assert failed.wait(PATIENCE)
    mirror.close()


def test_an_error_that_leaves_the_block_goes_before_a_failure_which_is_noted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed = threading.Event()

    def fail(_: object) -> None:
        failed.set()
        _fail(_)

    with pytest.raises(LookupError) as caught, synced(FakeBBS([row()])) as mirror:  # noqa: PT012 - as above
        mirror.subscribe(fail)
        assert failed.wait(PATIENCE)
        raise LookupError
    assert "as the test wants it" in caught.value.__notes__[0]
    assert "as the test wants it" in caplog.text


def test_what_is_no_exception_is_raised_to_the_owner_too() -> None:
    def leave(_: object) -> None:
        raise SystemExit(3)

    with synced(FakeBBS([row()])) as mirror:
        mirror.subscribe(leave)
        with pytest.raises(SystemExit):
            mirror.wait_for(lambda _: False, PATIENCE)
        assert mirror.status.phase is Phase.CLOSED


def test_several_failures_at_once_come_as_a_group() -> None:
    async def fail_too(_: object) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            raise LookupError from exc

    async def fail_first(_: object) -> None:
        await trio.testing.wait_all_tasks_blocked()
        raise ZeroDivisionError

    with synced(FakeBBS([row()])) as mirror:
        mirror.subscribe(fail_too)
        mirror.subscribe(fail_first)
        with pytest.raises(ExceptionGroup) as caught:
            mirror.wait_for(lambda _: False, PATIENCE)
    assert {type(one) for one in caught.value.exceptions} == {ZeroDivisionError, LookupError}


def test_a_crash_of_trio_itself_is_raised_to_those_who_wait() -> None:
    with entered(FakeBBS([row()])) as mirror:
        mirror.wait_synced(PATIENCE)

        def crash(_: object) -> None:
            trio.lowlevel.current_trio_token().run_sync_soon(lambda: 1 // 0)

        mirror.subscribe(crash)
        with pytest.raises(trio.TrioInternalError):
            mirror.wait_for(lambda _: False, PATIENCE)
        assert mirror.status.phase is Phase.CLOSED


# Company


def test_several_mirrors_live_beside_each_other() -> None:
    first, second = FakeBBS([row("one")]), FakeBBS([row("two")])
    with synced(first, name="first") as one, synced(second, name="second") as other:
        first.push(created(row("three")))
        one.wait_for(lambda mirror: len(mirror.actual_lrps()) == 2, PATIENCE)
        assert [each.process_guid for each in other.actual_lrps()] == ["two"]
        one.close()
        second.push(created(row("four")))
        other.wait_for(lambda mirror: len(mirror.actual_lrps()) == 2, PATIENCE)
        assert len(one.actual_lrps()) == 2


def test_an_asyncio_program_waits_without_holding_its_loop() -> None:
    bbs = FakeBBS([row()])

    async def main() -> list[Any]:
        with synced(bbs) as mirror:
            waiting = asyncio.create_task(asyncio.to_thread(mirror.wait_for, lambda one: one.revision == 2, PATIENCE))
            turned = asyncio.Event()
            asyncio.get_running_loop().call_soon(turned.set)
            await turned.wait()
            assert not waiting.done()
            bbs.push(changed(row()))
            await waiting
            return [one.tag_index for one in mirror.actual_lrps()]

    assert asyncio.run(main()) == [1]
