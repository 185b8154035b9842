"""An in-memory mirror of a Diego BBS, for programs that schedule or route.

    async with lrpmirror.open_mirror("https://bbs.service.cf.internal:8889", tls=lrpmirror.TLS(ca=…, cert=…, key=…)) as
    mirror:
        await mirror.wait_synced()
        mirror.actual_lrps(process_guid)

The names here are the public ones, with the modules `lrpmirror.events`, `lrpmirror.errors`, `lrpmirror.recording` and
`lrpmirror.sim`.
"""

from lrpmirror import views
from lrpmirror.client import TLS, BBSClient, InsecureTLSWarning, Limits, Timeouts
from lrpmirror.core.derived.subscriptions import Lag
from lrpmirror.core.freshness.status import Phase, Status
from lrpmirror.core.rows.changes import Cause, Change
from lrpmirror.core.session import Tuning
from lrpmirror.errors import LRPMirrorError
from lrpmirror.mirror import Changes, Mirror, MirrorView, Subscription, open_mirror
from lrpmirror.model import (
    ActualLRP,
    ActualLRPGroup,
    ActualLRPState,
    CellCapacity,
    CellPresence,
    DesiredLRP,
    DynamicValue,
    MetricTagValue,
    ModificationTag,
    PortMapping,
    PreferredAddress,
    Presence,
    Provider,
)
from lrpmirror.thread import MirrorThread, ThreadChanges, ThreadSubscription, ThreadView

__all__ = [
    "TLS",
    "ActualLRP",
    "ActualLRPGroup",
    "ActualLRPState",
    "BBSClient",
    "Cause",
    "CellCapacity",
    "CellPresence",
    "Change",
    "Changes",
    "DesiredLRP",
    "DynamicValue",
    "InsecureTLSWarning",
    "LRPMirrorError",
    "Lag",
    "Limits",
    "MetricTagValue",
    "Mirror",
    "MirrorThread",
    "MirrorView",
    "ModificationTag",
    "Phase",
    "PortMapping",
    "PreferredAddress",
    "Presence",
    "Provider",
    "Status",
    "Subscription",
    "ThreadChanges",
    "ThreadSubscription",
    "ThreadView",
    "Timeouts",
    "Tuning",
    "open_mirror",
    "views",
]
