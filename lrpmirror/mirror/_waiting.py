"""Tasks that wait until something holds of a mirror."""

from collections.abc import Callable

import trio


class Waiting:
    """Those that wait, and for what. It is tried where the mirror changes, since a turn of a task costs far more."""

    def __init__(self) -> None:
        self._waits: dict[_Wait, None] = {}

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a look finds that it holds; raises what it raises then."""
        wait = _Wait(condition)
        self._waits[wait] = None
        try:
            await wait.over.wait()
        finally:
            del self._waits[wait]
        if wait.error is not None:
            raise wait.error

    def look(self) -> None:
        """Wake those whose condition holds, or fails."""
        for wait in self._waits:
            wait.look()


class _Wait:
    """One task that waits for a condition, which is the code of users."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = condition
        self.over = trio.Event()
        self.error: BaseException | None = None

    def look(self) -> None:
        if self.over.is_set():
            return
        try:
            holds = self._condition()
        except BaseException as error:  # noqa: BLE001 - it ends the task that waits, not the mirror that has changed
            self.error, holds = error, True
        if holds:
            self.over.set()
