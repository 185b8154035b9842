"""The mirror itself: the trio shell around the state machine in `core` and the client, and the queries."""

from lrpmirror.mirror._bbs import BBS
from lrpmirror.mirror._feed import Changes, Subscription
from lrpmirror.mirror._mirror import Mirror
from lrpmirror.mirror._open import open_mirror
from lrpmirror.mirror._view import MirrorView

__all__ = ["BBS", "Changes", "Mirror", "MirrorView", "Subscription", "open_mirror"]
