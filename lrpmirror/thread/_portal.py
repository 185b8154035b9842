"""Calls from other threads into the mirror's thread."""

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from threading import TIMEOUT_MAX, Event, get_ident
from typing import Any, Final, TypeVar

import trio

from lrpmirror.errors import MirrorClosed, MirrorError, MirrorForked

T = TypeVar("T")

PATIENCE: Final = 1.0  # how many seconds longer than its timeout a wait lets the mirror's thread answer


class Portal:
    """Calls functions in the mirror's thread, which runs trio, for other threads; and stores why it ended.

    `open`, `closed`, `shut` and `ended` are called in that thread, in this order; everything else anywhere.
    """

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread = 0
        self._unanswered: set[Future[Any]] = set()
        self._closed = trio.Event()
        self.closing = False  # whether the mirror is being closed, or has been
        self.failure: BaseException | None = None  # the error that ended the mirror, if any
        self._failure_raised = False
        self._ended = Event()
        self._forked: MirrorForked | None = None

    # The thread's side

    def open(self, nursery: trio.Nursery) -> None:
        """Admit calls. Waits run in `nursery`, which must outlive the mirror, so that they see its end."""
        self._nursery, self._thread = nursery, get_ident()
        self._token = trio.lowlevel.current_trio_token()

    def closed(self, failure: BaseException | None) -> None:
        """Notify waits that the mirror has ended, by that failure or because it was closed."""
        self.failure = failure
        self._closed.set()

    def shut(self) -> None:
        """Admit no more waits."""
        self._nursery = None

    def ended(self, failure: BaseException | None) -> None:
        """Record that the thread ends, and fail all calls that have no answer yet."""
        self.failure = self.failure or failure
        self._ended.set()
        for future in list(self._unanswered):
            with suppress(InvalidStateError):
                future.set_exception(self.failure or MirrorClosed("the mirror is closed"))

    # In a forked child

    def forked(self, error: MirrorForked) -> None:
        """Record that this is a copy in a forked child, which has no such thread: all calls raise `error`."""
        self._forked = self.failure = error
        self._token = self._nursery = None
        self._thread = 0
        self.closing = self._failure_raised = True
        # A new one, since a thread of the parent may hold the lock of the old one.
        self._ended = Event()
        self._ended.set()

    # The other side

    @property
    def inside(self) -> bool:
        """Whether the caller is in the mirror's thread, as a callback is by default."""
        return get_ident() == self._thread

    @property
    def is_copy(self) -> bool:
        """Whether this is a copy in a forked child, which has no such thread."""
        return self._forked is not None

    @property
    def unseen_failure(self) -> BaseException | None:
        """The error that ended the mirror, unless a caller has got it."""
        return None if self._failure_raised else self.failure

    def raise_failure(self, *, again: bool) -> None:
        """Raise the error that ended the mirror, if any; one that was raised before only with `again`."""
        if self.failure is not None and (again or not self._failure_raised):
            self._failure_raised = True
            raise self.failure

    def run_soon(self, function: Callable[[], object]) -> None:
        """Schedule a function without waiting for it; it is not called where the thread has ended."""
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(function)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the mirror's thread, between two of its steps, and return or raise what it does.

        In the caller's own thread where that is the mirror's, or where the mirror's has ended. Raises MirrorForked.
        """
        if self._forked is not None:
            raise self._forked
        if self.inside or self._token is None:
            return function()
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - it is the caller's, and raised there
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._tracked(future):
            try:
                self._token.run_sync_soon(run)
            except trio.RunFinishedError:
                return function()
            try:
                return future.result()
            except BaseException:
                future.cancel()
                raise

    def wait(
        self,
        function: Callable[[], Awaitable[T]],
        timeout: float | None,
        *,
        late: type[MirrorError],
        after: Callable[[], T],
    ) -> T:
        """Wait for an asynchronous function, which keeps to `timeout` itself, and return or raise what it does.

        Raises the error that ends the mirror meanwhile, or has ended it. An interrupt (Ctrl-C) ends the wait. Raises
        `late` where the thread does not answer in time; returns `after()` where the thread has ended already.
        """
        if self.inside:
            raise MirrorError("a callback in the mirror's thread cannot wait for the mirror: it would wait for itself")
        self.raise_failure(again=True)
        future: Future[T] = Future()
        scope = trio.CancelScope()
        with self._tracked(future):
            # In one block, since an interrupt between the two would leave the function running.
            try:
                self._enter(lambda: self._start(future, scope, function))
                return future.result(None if timeout is None else min(timeout + PATIENCE, TIMEOUT_MAX))
            except trio.RunFinishedError:
                # The run has ended, and its thread is about to record why.
                self._ended.wait()
                self.raise_failure(again=True)
                return after()
            except BaseException as error:
                self.run_soon(scope.cancel)
                if error is self.failure:
                    self._failure_raised = True
                if isinstance(error, TimeoutError) and not future.done():
                    raise late(
                        f"no answer within {timeout} s from the mirror's thread: "
                        "a callback, predicate or view is busy in it"
                    ) from None
                raise

    def _enter(self, function: Callable[[], object]) -> None:
        if self._token is None:
            raise MirrorError("the mirror has not been started: enter the MirrorThread with `with`")
        self._token.run_sync_soon(function)

    @contextmanager
    def _tracked(self, future: "Future[Any]") -> Iterator[None]:
        # Before the call, so that the end of the thread misses no future.
        self._unanswered.add(future)
        try:
            yield
        finally:
            self._unanswered.discard(future)

    def _start(self, future: "Future[T]", scope: trio.CancelScope, function: Callable[[], Awaitable[T]]) -> None:
        # Without a nursery, `ended` sets the future's error.
        if self._nursery is not None:
            self._nursery.start_soon(self._run, future, scope, function)

    async def _run(self, future: "Future[T]", scope: trio.CancelScope, function: Callable[[], Awaitable[T]]) -> None:
        with scope:
            try:
                result = await function()
            except trio.Cancelled:
                raise
            except MirrorClosed as error:
                if self.closing:
                    # The reason is recorded a moment later.
                    await self._closed.wait()
                future.set_exception(self.failure or error)
            except BaseException as error:  # noqa: BLE001 - it is the caller's, and raised there
                future.set_exception(error)
            else:
                future.set_result(result)
