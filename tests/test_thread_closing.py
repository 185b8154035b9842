"""The end of a mirror in a thread of its own: what closing breaks off, what it waits for, and what is left to read."""

import logging
import threading

import pytest
import trio
import trio.testing
from thread_support import PATIENCE, FakeBBS, InThread, Versions, entered, row, synced

from lrpmirror import MirrorThread, ModificationTag, Phase, Tuning
from lrpmirror.errors import MirrorClosed

pytestmark = pytest.mark.usefixtures("no_thread_outlives")


def _closes(mirror: MirrorThread, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "lrpmirror"):
        mirror.close()
    assert caplog.records == [], "the thread did not end within close()'s timeout"
    assert mirror.status.phase is Phase.CLOSED
    assert not any(one.name == "lrpmirror" for one in threading.enumerate())


def test_closing_breaks_off_a_list(caplog: pytest.LogCaptureFixture) -> None:
    bbs = FakeBBS(hang=True)
    with entered(bbs) as mirror:
        assert bbs.listing.wait(PATIENCE)
        _closes(mirror, caplog)


def test_closing_breaks_off_the_wait_for_the_next_connection(caplog: pytest.LogCaptureFixture) -> None:
    bbs = FakeBBS(refused=True)
    with entered(bbs, tuning=Tuning(first_delay=10**6, most_delay=10**6)) as mirror:
        mirror.wait_for(lambda one: one.status.last_error is not None, PATIENCE)
        _closes(mirror, caplog)


def test_closing_cancels_an_asynchronous_callback_where_it_awaits(caplog: pytest.LogCaptureFixture) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def hold(_: object) -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    with synced(FakeBBS([row()])) as mirror:
        mirror.subscribe(hold)
        assert begun.wait(PATIENCE)
        _closes(mirror, caplog)
        assert ended.is_set()


def test_closing_does_not_wait_longer_than_it_is_to_for_a_callback_in_the_mirrors_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, release = threading.Event(), threading.Event()
    calls: list[object] = []

    def hold(change: object) -> None:
        calls.append(change)
        begun.set()
        release.wait(PATIENCE)

    with entered(FakeBBS([row(), row("q")])) as mirror:
        mirror.wait_synced(PATIENCE)
        mirror.subscribe(hold)
        assert begun.wait(PATIENCE)
        mirror.close(timeout=0)
        assert "until the callback that runs in it returns" in caplog.text
        assert mirror.status.phase is Phase.CLOSED
        assert len(mirror.actual_lrps()) == 2
        release.set()
    assert len(calls) == 1, "a callback was begun after closing"


def test_a_callback_that_fails_after_closing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    begun, release = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        begun.set()
        release.wait(PATIENCE)
        raise ZeroDivisionError

    mirror = MirrorThread(FakeBBS([row()]))
    with pytest.raises(ZeroDivisionError), mirror:  # noqa: PT012 - what leaves the block is the point
        mirror.subscribe(hold)
        assert begun.wait(PATIENCE)
        mirror.close(timeout=0)
        release.set()
    assert "ended by an error after it was closed" in caplog.text


def test_a_callback_may_close_the_mirror() -> None:
    with synced(FakeBBS([row()])) as mirror:
        mirror.subscribe(lambda _: mirror.close())
        with pytest.raises(MirrorClosed):
            mirror.wait_for(lambda _: False, PATIENCE)


def test_closing_again_does_nothing_and_reads_stay() -> None:
    with synced(FakeBBS([row()])) as mirror:
        versions = mirror.view(Versions())
        mirror.close()
        mirror.close()
    mirror.close()
    assert mirror.actual_lrps("p") == (row(),)
    assert mirror.actual_lrp_groups("p")[0].instance == row()
    assert mirror.instance("p-0") == row()
    assert mirror.domains == {"apps"}
    assert versions.copy() == {"p": 0}
    assert mirror.consistently(lambda: mirror.revision) == 1
    assert (mirror.status.phase, mirror.status.actual_lrps) == (Phase.CLOSED, 1)
    mirror.resync()


def test_after_closing_waits_are_answered_by_the_last_state() -> None:
    with synced(FakeBBS([row()])) as mirror:
        pass
    mirror.wait_synced()
    mirror.wait_for(lambda one: one.revision == 1)
    mirror.wait_for_tag("p", ModificationTag("epoch-p-0", 0))
    for wait in (
        lambda: mirror.wait_for(lambda one: one.revision == 2),
        lambda: mirror.wait_for_tag("p", ModificationTag("epoch-p-0", 1)),
        lambda: mirror.subscribe(print),
        lambda: mirror.view(Versions()),
    ):
        with pytest.raises(MirrorClosed):
            wait()


def test_closing_before_the_first_state_ends_waits_for_it_with_an_error() -> None:
    with entered(FakeBBS(hang=True)) as mirror:
        pass
    with pytest.raises(MirrorClosed):
        mirror.wait_synced()


def test_closing_ends_the_waits_of_other_threads() -> None:
    called = threading.Event()

    def never(_: MirrorThread) -> bool:
        called.set()
        return False

    with synced(FakeBBS([row()])) as mirror:
        waiting = InThread(lambda: mirror.wait_for(never))
        assert called.wait(PATIENCE)
        mirror.close()
        with pytest.raises(MirrorClosed):
            waiting.result()
