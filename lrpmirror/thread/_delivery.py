"""What a MirrorThread delivers: callbacks in its thread, on an executor or an asyncio loop; and blocking iteration."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction
from math import inf
from time import monotonic
from typing import Any, Final, Generic, Self

import trio

from lrpmirror.background import is_failure
from lrpmirror.core.derived.subscriptions import Lag
from lrpmirror.core.derived.view import K, V
from lrpmirror.core.rows.changes import Change
from lrpmirror.errors import ConfigurationError, MirrorClosed, MirrorError
from lrpmirror.mirror import Changes
from lrpmirror.mirror._feed import FAILED_ON, FILTER_FAILED, Callback, ErrorPolicy, Subscription
from lrpmirror.thread._portal import Portal

logger = logging.getLogger("lrpmirror")


SLICE: Final = 0.005  # for how many seconds callbacks are called in a row before other tasks of their loop get a turn
CHECK: Final = 0.25  # seconds between two checks whether a loop that is waited for is closed: it does not notify


class _ClosedError(Exception):
    """The executor or loop of a subscriber has been closed."""


Delivery = Callable[["ThreadSubscription[Any, Any]", Sequence[Change[Any, Any]]], Awaitable[None]]
"""Has a subscription call back with a batch in its place. Raises what the callback raises, and _ClosedError."""


class ThreadSubscription(Subscription[K, V]):
    """A callback that is called with changes, until it is cancelled or the mirror is closed.

    May be used from any thread. The callback is called with one change at a time, in order, and has to return before
    the next call; meanwhile several changes of a key are combined into one. The batch that is being processed, of at
    most a few thousand changes, does not count in `lag`.
    """

    def __init__(
        self, callback: Callback[K, V], changes: Changes[K, V], delivery: Delivery, errors: ErrorPolicy, portal: Portal
    ) -> None:
        super().__init__(callback, changes, errors)
        self._delivery = delivery
        self._portal = portal
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether the subscription has ended, for any reason."""
        return self._cancelled

    def cancel(self) -> None:
        """End the subscription: no further call begins. May be called at any time, also from the callback.

        Returns at once; a running call goes on to its end.
        """
        if not self.cancelled:
            self._cancelled = True
            self._portal.run_soon(self._changes.leave)

    async def run(self) -> None:
        """Deliver changes as they come. Run in the mirror's thread."""
        try:
            while not self.cancelled:
                batch = await self._next()
                if batch is None or self.cancelled:
                    return
                await self._delivery(self, batch)
        except _ClosedError as closed:
            logger.warning("%s: its subscription ends", closed)
        finally:
            self._cancelled = True
            self._changes.leave()

    async def _next(self) -> list[Change[K, V]] | None:
        """Return the next batch, None at the end. An error of the subscriber's filter goes by the error policy."""
        while True:
            try:
                return await anext(self._changes)
            except StopAsyncIteration:
                return None
            except BaseException as error:
                if not is_failure(error):
                    raise
                self._failed(error, FILTER_FAILED)
                if self.cancelled:
                    return None

    async def call_all(
        self,
        batch: Sequence[Change[K, V]],
        pause: Callable[[], Awaitable[object]],
        is_failure: Callable[[BaseException], bool],
    ) -> None:
        """Call back with each change; `pause` lets other tasks go on, `is_failure` finds the callback's errors."""
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
                self._failed(error, FAILED_ON, change.key, change.revision)
            if monotonic() >= until:
                await pause()
                until = monotonic() + SLICE

    def call_all_now(self, batch: Sequence[Change[K, V]]) -> None:
        """Call back with each change of a batch, without awaiting anything."""
        for change in batch:
            if self.cancelled:
                return
            try:
                self._callback(change)
            except BaseException as error:
                if not is_failure(error):
                    raise
                self._failed(error, FAILED_ON, change.key, change.revision)

    def _failed(self, error: BaseException, what: str, *args: object) -> None:
        if self._errors == "raise" and not isinstance(error, Exception):
            # It is raised in other threads too, where a CancelledError would pass for one of theirs.
            raise MirrorError(f"{what % args}: {error!r}") from error
        super()._failed(error, what, *args)


def delivery_to(
    callback: Callback[K, V], executor: Executor | None, loop: asyncio.AbstractEventLoop | None, errors: ErrorPolicy
) -> Delivery:
    """Return the delivery on an executor, on a loop, or with neither in the mirror's thread."""
    if errors not in ("raise", "log", "cancel"):
        raise ConfigurationError(f"errors={errors!r} is none of 'raise', 'log' and 'cancel'")
    if executor is not None and loop is not None:
        raise ConfigurationError("executor and loop are both given: a callback is called in one place, choose it")
    if executor is not None and iscoroutinefunction(callback):
        raise ConfigurationError("an asynchronous callback cannot run in an executor: give the loop that is to run it")
    if executor is not None:
        return partial(_on_executor, executor)
    return _in_mirror_thread if loop is None else _OnLoop(loop)


async def _in_mirror_thread(subscription: ThreadSubscription[K, V], batch: Sequence[Change[K, V]]) -> None:
    await subscription.call_all(batch, trio.lowlevel.checkpoint, is_failure)


async def _on_executor(
    executor: Executor, subscription: ThreadSubscription[K, V], batch: Sequence[Change[K, V]]
) -> None:
    what = "a subscriber's executor has been shut down"
    try:
        future = executor.submit(subscription.call_all_now, batch)
    except RuntimeError as exc:
        raise _ClosedError(what) from exc
    await _finished(future, lambda: False, what)


class _OnLoop:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # A loop has only weak references to its tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, subscription: ThreadSubscription[K, V], batch: Sequence[Change[K, V]]) -> None:
        future: Future[None] = Future()

        def begin() -> None:
            # Made only here, since Python warns about a coroutine that is never awaited.
            calls = subscription.call_all(batch, partial(asyncio.sleep, 0), _is_failure_on_loop)
            try:
                task = self._loop.create_task(calls)
            except BaseException as error:
                # The program's task factory can raise.
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
            raise _ClosedError("a subscriber's asyncio loop has been closed") from exc
        await _finished(future, self._loop.is_closed, "a subscriber's asyncio loop has been closed, or ends its tasks")


def _is_failure_on_loop(error: BaseException) -> bool:
    """Return whether a callback has raised it. A CancelledError is the loop's where the task is being cancelled."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and not task.cancelling()
    return is_failure(error)


async def _finished(future: "Future[None]", is_closed: Callable[[], bool], what: str) -> None:
    """Wait for a future of another thread, and raise its error; _ClosedError where it will never be run."""
    done = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def wake(_: "Future[None]") -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(done.set)

    future.add_done_callback(wake)
    while not done.is_set():
        with trio.move_on_after(CHECK):
            await done.wait()
        if is_closed() and not future.done():
            raise _ClosedError(what)
    if future.cancelled():
        raise _ClosedError(what)
    error = future.exception()
    if error is not None:
        raise error


@dataclass(eq=False, repr=False)
class ThreadChanges(Iterator[list[Change[K, V]]], Generic[K, V]):
    """Batches of changes, to be iterated over with `for` for as long as a `with` block lasts.

    A batch has what changed since the batch before, one change for each key. The iteration ends after the last changes
    when the mirror is closed or the view is dropped. A failure that ends the mirror is raised. One thread iterates.
    """

    _changes: Changes[K, V]
    _portal: Portal

    @property
    def lag(self) -> Lag:
        """How far behind the iteration is: pending keys, and the age of the oldest in seconds. O(1)."""
        return self._changes.lag

    def take(self, timeout: float | None = None) -> list[Change[K, V]]:
        """Return the next batch; an empty one where there is none within `timeout` seconds.

        Raises MirrorClosed where there will be none any more, or the failure that ended the mirror.
        """
        return self._portal.wait(lambda: self._next(timeout), timeout, late=MirrorError, after=self._rest)

    def __enter__(self) -> Self:
        self._portal.call(self._changes.begin)
        return self

    def __exit__(self, *_: object) -> None:
        self._portal.run_soon(self._changes.leave)

    def __next__(self) -> list[Change[K, V]]:
        try:
            return self.take()
        except MirrorClosed as closed:
            raise StopIteration from closed

    async def _next(self, timeout: float | None) -> list[Change[K, V]]:
        with trio.move_on_after(inf if timeout is None else timeout):
            async for batch in self._changes:
                return batch
            return self._rest()
        return []

    def _rest(self) -> list[Change[K, V]]:
        """Return the last changes, after the end."""
        rest = self._changes.mailbox.take()
        if not rest:
            raise MirrorClosed("there will be no more changes: the mirror is closed, or the view was dropped")
        return rest
