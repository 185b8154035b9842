"""The mirror for programs that do not run trio: it runs in a thread of its own and is read from any other."""

from lrpmirror.thread._changes import ThreadChanges
from lrpmirror.thread._delivery import ThreadSubscription
from lrpmirror.thread._thread import MirrorThread
from lrpmirror.thread._view import ThreadView

__all__ = ["MirrorThread", "ThreadChanges", "ThreadSubscription", "ThreadView"]
