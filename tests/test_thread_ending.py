"""How the thread of a mirror ends in the midst of something else, and what is left of a subscriber that is gone."""

import signal
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import monotonic, sleep
from typing import Any, Self

import pytest
import trio
from thread_support import PATIENCE, FakeBBS, InThread, changed, row, synced

from lrpmirror import MirrorThread
from lrpmirror.errors import MirrorClosed
from lrpmirror.events import Event


def comes(holds: Callable[[], bool]) -> bool:
    """Poll until a condition holds that has no event."""
    until = monotonic() + PATIENCE
    while not holds():
        if monotonic() > until:
            return False
        sleep(0.01)
    return True


def test_ctrl_c_while_it_is_being_entered_leaves_no_thread_behind() -> None:
    class Slow(FakeBBS):
        async def __aenter__(self) -> Self:
            main = threading.main_thread().ident or 0
            threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT)).start()
            await trio.sleep(0.4)
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

    with pytest.raises(KeyboardInterrupt), MirrorThread(Slow([row()]), name="interrupted"):
        raise AssertionError("it is not entered")
    assert comes(lambda: all(thread.name != "interrupted" for thread in threading.enumerate()))


def test_subscribing_while_the_mirror_is_being_closed_raises_mirror_closed() -> None:
    closing, go_on = threading.Event(), threading.Event()

    class Lingering(FakeBBS):
        @asynccontextmanager
        async def events(self, name: str, **options: Any) -> AsyncIterator[AsyncIterator[list[Event]]]:
            async with super().events(name, **options) as batches:
                try:
                    yield batches
                finally:
                    closing.set()
                    with trio.CancelScope(shield=True):
                        await trio.to_thread.run_sync(go_on.wait, PATIENCE)

    with synced(Lingering([row()])) as mirror:
        leaving = InThread(mirror.close)
        assert closing.wait(PATIENCE)
        try:
            with pytest.raises(MirrorClosed):
                mirror.subscribe(lambda _: None)
        finally:
            go_on.set()
        leaving.result()


def test_of_a_subscriber_that_is_gone_nothing_is_kept() -> None:
    bbs = FakeBBS([row()])
    with synced(bbs) as mirror:
        executor = ThreadPoolExecutor(1)
        subscription = mirror.subscribe(lambda _: None, executor=executor, replay=False)
        assert len(mirror.counts.subscribers) == 1
        executor.shutdown()
        bbs.push(changed(row()))
        assert comes(lambda: subscription.cancelled)
        assert comes(lambda: not mirror.counts.subscribers)
        assert subscription.lag.pending == 0
