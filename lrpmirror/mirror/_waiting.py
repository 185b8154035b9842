"""Tasks that wait until something holds of a mirror."""

from collections.abc import Callable

import trio


class Waiting:
    """Those that wait, and for what. It is tried where the mirror changes, since a turn of a task costs far more."""

    def __init__(self) -> None:
        self._conditions: dict[trio.Event, Callable[[], bool]] = {}

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a look finds that it holds, or fails to tell: then the caller tries it and fails itself."""
        event = trio.Event()
        self._conditions[event] = condition
        try:
            await event.wait()
        finally:
            del self._conditions[event]

    def look(self) -> None:
        """Wake those whose condition holds."""
        for event, condition in self._conditions.items():
            if _may_hold(condition):
                event.set()


def _may_hold(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except Exception:  # noqa: BLE001 - the code of users, which raises it again in a task of theirs
        return True
