"""What a forked child has of a mirror: a copy that nothing keeps current, and that says so.

Of a program that forks only the thread that forks goes on in the child. What a mirror has that a child must not have,
or must know of, is registered here.
"""

import os
from typing import Protocol
from weakref import WeakSet

from lrpmirror.errors import MirrorForked

__all__ = ["notify_when_forked"]


class Forkable(Protocol):
    """What is told in the child that it is a copy."""

    def forked(self, error: MirrorForked) -> None:
        """Record it, in the child. Waits for nothing: a lock may be held by a thread that is not there any more.

        Nor does it call trio, whose means of waiting are shared with the parent.
        """
        ...


_forkable: WeakSet[Forkable] = WeakSet()


def notify_when_forked(one: Forkable) -> None:
    """Tell it in a forked child, for as long as it lives."""
    _forkable.add(one)


def _forked() -> None:
    error = MirrorForked(
        "the mirror was opened by the process from which this one was forked, and nothing keeps its copy here current: "
        "open a mirror after the fork"
    )
    for one in list(_forkable):
        one.forked(error)


if hasattr(os, "register_at_fork"):  # pragma: no branch - as every POSIX system has
    os.register_at_fork(after_in_child=_forked)
