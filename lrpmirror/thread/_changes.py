"""Changes of one kind, for blocking iteration."""

from collections.abc import Hashable, Iterator
from math import inf
from types import TracebackType
from typing import Generic, Self, TypeVar

import trio

from lrpmirror.core.derived.subscriptions import Lag
from lrpmirror.core.rows.changes import Change
from lrpmirror.errors import MirrorClosed, MirrorError
from lrpmirror.mirror import Changes
from lrpmirror.thread._portal import Portal

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ThreadChanges(Generic[K, V]):
    """Batches of changes, to be iterated over with `for` for as long as a `with` block lasts.

    A batch has what changed since the batch before, one change for each key. The iteration ends after the last changes
    when the mirror is closed or the view is dropped. A failure that ends the mirror is raised. One thread iterates.
    """

    def __init__(self, changes: Changes[K, V], portal: Portal) -> None:
        self._changes = changes
        self._portal = portal

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

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._portal.run_soon(self._changes.leave)

    def __iter__(self) -> Iterator[list[Change[K, V]]]:
        return self

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
