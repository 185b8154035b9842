"""Forked children: their copy of a mirror, which nothing keeps current, is marked as closed.

Only the thread that forks goes on in the child. Objects that a child must not use, or must adapt, are registered here.
"""

import os
from typing import Protocol
from weakref import WeakSet

from lrpmirror.errors import MirrorForked


class Forkable(Protocol):
    """An object that is notified in the child that it is a copy."""

    def forked(self, error: MirrorForked) -> None:
        """Adapt to being a copy, in the child. Must not wait: a lock may be held by a thread that is gone.

        Nor may it call trio, whose file descriptors are shared with the parent.
        """


_forkable: WeakSet[Forkable] = WeakSet()


def notify_when_forked(forkable: Forkable) -> None:
    """Call `forked` of an object in each forked child, for as long as the object lives."""
    _forkable.add(forkable)


def _forked() -> None:
    error = MirrorForked(
        "the mirror was opened by the process from which this one was forked, and nothing keeps its copy here current: "
        "open a mirror after the fork"
    )
    for forkable in list(_forkable):
        forkable.forked(error)


if hasattr(os, "register_at_fork"):  # pragma: no branch - as every POSIX system has
    os.register_at_fork(after_in_child=_forked)
