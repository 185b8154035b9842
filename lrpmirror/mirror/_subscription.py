"""Subscriptions: callbacks on changes, each in a task of its own."""

import logging
from collections.abc import Awaitable, Callable, Hashable
from inspect import isawaitable
from typing import Any, Generic, Literal, TypeVar

import trio

from lrpmirror.background import is_failure
from lrpmirror.core.derived.subscriptions import Lag, Mailbox
from lrpmirror.core.rows.changes import Change

logger = logging.getLogger("lrpmirror")

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Callback = Callable[[Change[K, V]], Awaitable[object] | object]
"""A subscriber's function: called with each change, and its result awaited if it is awaitable."""

ErrorPolicy = Literal["raise", "log", "cancel"]
"""What an error of a callback does: it ends the mirror's block, is logged, or is logged and ends the subscription."""


class Subscription(Generic[K, V]):
    """A callback that is called with changes, until it is cancelled or the mirror is closed."""

    def __init__(
        self,
        callback: Callback[K, V],
        clock: Callable[[], float],
        *,
        where: Callable[[V], bool] | None,
        errors: ErrorPolicy,
        forget: Callable[[], None],
    ) -> None:
        self._callback = callback
        self._clock = clock
        self._errors = errors
        self._forget = forget
        self._ready = trio.Event()
        self.mailbox: Mailbox[K, V] = Mailbox(self._wake, where)
        self.cancelled = False

    @property
    def lag(self) -> Lag:
        """How far behind this subscriber is: pending keys, and the age of the oldest in seconds. O(1)."""
        return self.mailbox.lag(self._clock())

    def cancel(self) -> None:
        """End the subscription: no further change is delivered. May be called at any time, also from the callback."""
        if not self.cancelled:
            self.cancelled = True
            self._forget()
            self._wake()

    def _wake(self) -> None:
        self._ready.set()

    async def run(self) -> None:
        """Deliver changes as they come. Run by the mirror."""
        while not self.cancelled:
            await self._ready.wait()
            self._ready = trio.Event()
            while not self.cancelled:
                failure = self.mailbox.take_failure()
                if failure is not None:
                    self._failed(failure, "the filter `where` of a subscriber failed")
                elif self.mailbox:
                    # One at a time, so that keys that wait behind a slow call go on coalescing.
                    await self._deliver(self.mailbox.take_oldest())
                else:
                    break

    async def _deliver(self, change: Change[K, V]) -> None:
        try:
            result: Any = self._callback(change)
            if result is not None and isawaitable(result):
                await result
            else:
                # The reader of the stream gets its turn between any two calls.
                await trio.lowlevel.checkpoint()
        except BaseException as error:
            if not is_failure(error):
                raise
            # The key is logged and not the values, which can hold what is not for logs.
            self._failed(error, "a subscriber failed on the change of %s at revision %s", change.key, change.revision)

    def _failed(self, error: BaseException, what: str, *args: object) -> None:
        if self._errors == "raise":
            raise error
        logger.error(what, *args, exc_info=error)
        if self._errors == "cancel":
            self.cancel()
