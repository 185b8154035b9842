"""What mutants put in the place of methods that keep views: see `simulation.mutants`."""

from typing import Any

import trio

__all__ = ["all_are_kept", "goners_are_not_derived", "nothing_is_locked"]


def goners_are_not_derived(update: Any) -> Any:
    """Return an `update` that leaves out processes of which nothing is left."""

    def forgetful(self: Any, processes: Any, *dirty: Any) -> Any:
        return update(self, [one for one in processes if one.rows or one.desired], *dirty)

    return forgetful


def all_are_kept(finish: Any) -> Any:
    """Return a `finish` that takes dropped views for kept ones."""

    def forgetful(self: Any, commit: Any, _kept: Any) -> Any:
        return finish(self, commit, {one for one, _ in self._pairs})

    return forgetful


class _Unlocked:
    """A lock that is nobody's."""

    async def __aenter__(self) -> None:
        await trio.lowlevel.checkpoint()

    async def __aexit__(self, *_: object) -> None:
        await trio.lowlevel.checkpoint()


def nothing_is_locked(init: Any) -> Any:
    """Return an `__init__` of a follower whose lock of the views is none."""

    def unlocked(self: Any, *args: Any, **named: Any) -> None:
        init(self, *args, **named)
        self.views_lock = _Unlocked()

    return unlocked
