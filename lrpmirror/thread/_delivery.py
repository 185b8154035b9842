"""Callbacks for programs in other threads: in the mirror's thread, on an executor, or on an asyncio loop."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from inspect import iscoroutinefunction
from time import monotonic
from typing import Final, Generic, Protocol, TypeVar

import trio

from lrpmirror.background import is_failure
from lrpmirror.core.derived.subscriptions import Lag
from lrpmirror.core.rows.changes import Change
from lrpmirror.errors import ConfigurationError, MirrorError
from lrpmirror.mirror import Changes
from lrpmirror.mirror._subscription import Callback, ErrorPolicy
from lrpmirror.thread._portal import Portal

__all__ = ["Callback", "Courier", "ErrorPolicy", "ThreadSubscription", "courier_to"]

logger = logging.getLogger("lrpmirror")

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

SLICE: Final = 0.005
"""For how many seconds callbacks are called in a row before others on their loop have a turn."""

CHECK: Final = 0.25
"""After how many seconds of waiting for a loop it is asked whether it has been closed, which it tells nobody."""


class _GoneError(Exception):
    """The executor or loop takes nothing more."""


class Courier(Protocol):
    """Brings batches to where a subscriber wants them: returns when one has been dealt with."""

    async def __call__(self, subscription: "ThreadSubscription[K, V]", batch: Sequence[Change[K, V]]) -> None:
        """Have `subscription` tell of a batch. Raises what its callback raises, and _GoneError."""
        ...


class ThreadSubscription(Generic[K, V]):
    """A callback that is being told of changes, until it is cancelled or the mirror is closed.

    For any thread. The callback is called with one change at a time, in order, and the next one waits until it has
    returned; meanwhile what changes again is still one change.
    """

    def __init__(
        self, callback: Callback[K, V], changes: Changes[K, V], courier: Courier, errors: ErrorPolicy, portal: Portal
    ) -> None:
        self._callback = callback
        self._changes = changes
        self._courier = courier
        self._errors = errors
        self._portal = portal
        self.cancelled = False
        """Whether it has ended, for whatever reason."""

    @property
    def lag(self) -> Lag:
        """How far behind this subscriber is: pending keys, and the age of the oldest in seconds. O(1).

        What has been handed to it, which is at most what has changed since the time before, is not among them.
        """
        return self._changes.lag

    def cancel(self) -> None:
        """End the subscription: no further call is begun. May be called at any time, also from the callback.

        Returns at once; a call that is running goes on to its end.
        """
        if not self.cancelled:
            self.cancelled = True
            self._portal.run_soon(self._changes.leave)

    async def run(self) -> None:
        """Deliver changes as they come. Run in the mirror's thread."""
        try:
            while not self.cancelled:
                batch = await self._next()
                if batch is None or self.cancelled:
                    return
                await self._courier(self, batch)
        except _GoneError as gone:
            logger.warning("%s: its subscription ends", gone)
        finally:
            self.cancelled = True
            self._changes.leave()

    async def _next(self) -> list[Change[K, V]] | None:
        """Return the next batch, by the error policy if the subscriber's filter fails; None where there are no more."""
        while True:
            try:
                return await anext(self._changes)
            except StopAsyncIteration:
                return None
            except BaseException as error:
                if not is_failure(error):
                    raise
                self._failed(error, "the filter `where` of a subscriber failed")
                if self.cancelled:
                    return None

    async def call_all(
        self,
        batch: Sequence[Change[K, V]],
        pause: Callable[[], Awaitable[object]],
        is_failure: Callable[[BaseException], bool],
    ) -> None:
        """Call back with each change of a batch.

        `pause` lets others on the same loop have a turn; `is_failure` tells what a callback has raised from what ends
        the task that this runs in.
        """
        until = monotonic() + SLICE
        for change in batch:
            if self.cancelled:
                return
            try:
                result = self._callback(change)
                if isinstance(result, Awaitable):
                    await result
            except BaseException as error:
                if not is_failure(error):
                    raise
                self._failed_on(change, error)
            if monotonic() >= until:
                await pause()
                until = monotonic() + SLICE

    def call_all_now(self, batch: Sequence[Change[K, V]]) -> None:
        """Call back with each change of a batch, where nothing can be awaited."""
        for change in batch:
            if self.cancelled:
                return
            try:
                self._callback(change)
            except BaseException as error:
                if not is_failure(error):
                    raise
                self._failed_on(change, error)

    def _failed_on(self, change: Change[K, V], error: BaseException) -> None:
        # The key is logged and not the values, which can hold what is not for logs.
        self._failed(error, "a subscriber failed on the change of %s at revision %s", change.key, change.revision)

    def _failed(self, error: BaseException, what: str, *args: object) -> None:
        if self._errors == "raise":
            if isinstance(error, Exception):
                raise error
            # It is raised in other threads too, where a CancelledError would pass for one of theirs.
            raise MirrorError(f"{what % args}: {error!r}") from error
        logger.error(what, *args, exc_info=error)
        if self._errors == "cancel":
            self.cancel()


def courier_to(
    callback: Callback[K, V], executor: Executor | None, loop: asyncio.AbstractEventLoop | None, errors: ErrorPolicy
) -> Courier:
    """Return what brings changes to an executor, to a loop, or with neither to a callback in the mirror's thread."""
    if errors not in ("raise", "log", "cancel"):
        raise ConfigurationError(f"errors={errors!r} is none of 'raise', 'log' and 'cancel'")
    if executor is not None and loop is not None:
        raise ConfigurationError("executor and loop are both given: a callback is called in one place, choose it")
    if executor is not None and iscoroutinefunction(callback):
        raise ConfigurationError("an asynchronous callback cannot run in an executor: give the loop that is to run it")
    if executor is not None:
        return _Executing(executor)
    return _here if loop is None else _Looping(loop)


async def _here(subscription: ThreadSubscription[K, V], batch: Sequence[Change[K, V]]) -> None:
    await subscription.call_all(batch, trio.lowlevel.checkpoint, is_failure)


class _Executing:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def __call__(self, subscription: ThreadSubscription[K, V], batch: Sequence[Change[K, V]]) -> None:
        try:
            future = self._executor.submit(subscription.call_all_now, batch)
        except RuntimeError as exc:
            raise _GoneError("a subscriber's executor has been shut down") from exc
        await _finished(future, lambda: False, "a subscriber's executor has been shut down")


class _Looping:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # A loop keeps no hold of its tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, subscription: ThreadSubscription[K, V], batch: Sequence[Change[K, V]]) -> None:
        future: Future[None] = Future()

        def begin() -> None:
            # Made only here, since a coroutine that no loop ever begins is a mistake to Python.
            calls = subscription.call_all(batch, partial(asyncio.sleep, 0), _is_failure_on_loop)
            try:
                task = self._loop.create_task(calls)
            except BaseException as error:
                # A loop can have a task factory of somebody's.
                calls.close()
                future.set_exception(error)
                raise
            self._tasks.add(task)
            task.add_done_callback(end)

        def end(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if task.cancelled():
                future.cancel()
            elif (error := task.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(None)

        try:
            self._loop.call_soon_threadsafe(begin)
        except RuntimeError as exc:
            raise _GoneError("a subscriber's asyncio loop has been closed") from exc
        await _finished(future, self._loop.is_closed, "a subscriber's asyncio loop has been closed, or ends its tasks")


def _is_failure_on_loop(error: BaseException) -> bool:
    """Return whether a callback has raised it: a CancelledError is the loop's where somebody has cancelled the task."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and not task.cancelling()
    return is_failure(error)


async def _finished(future: "Future[None]", gone: Callable[[], bool], what: str) -> None:
    """Wait for what runs elsewhere, and raise what it raises; _GoneError where it will never run."""
    done = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def wake(_: "Future[None]") -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(done.set)

    future.add_done_callback(wake)
    while not done.is_set():
        with trio.move_on_after(CHECK):
            await done.wait()
        if gone() and not future.done():
            raise _GoneError(what)
    if future.cancelled():
        raise _GoneError(what)
    error = future.exception()
    if error is not None:
        raise error
