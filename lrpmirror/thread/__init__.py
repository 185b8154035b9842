"""The mirror for programs that do not run trio: it runs in a thread of its own and is read from any other."""

from lrpmirror.thread._delivery import ThreadChanges, ThreadSubscription
from lrpmirror.thread._thread import MirrorThread, ThreadView

__all__ = ["MirrorThread", "ThreadChanges", "ThreadSubscription", "ThreadView"]
