"""The events of a BBS: the ten LRP events of its streams, and classes for unknown and unreadable ones.

The `type` of each class is its name on the wire, except for UnreadableEvent, which can be of any type.
"""

from typing import ClassVar

from msgspec import Struct

from lrpmirror.model import ActualLRP, ActualLRPGroup, DesiredLRP

__all__ = [
    "ActualLRPChanged",
    "ActualLRPCrashed",
    "ActualLRPCreated",
    "ActualLRPInstanceChanged",
    "ActualLRPInstanceCreated",
    "ActualLRPInstanceRemoved",
    "ActualLRPRemoved",
    "DesiredLRPChanged",
    "DesiredLRPCreated",
    "DesiredLRPRemoved",
    "Event",
    "SourceStatus",
    "UnknownEvent",
    "UnreadableEvent",
]


class DesiredLRPCreated(Struct, frozen=True, gc=False):
    """A desired LRP was created."""

    type: ClassVar[str] = "desired_lrp_created"
    desired_lrp: DesiredLRP
    trace_id: str = ""


class DesiredLRPChanged(Struct, frozen=True, gc=False):
    """A desired LRP was written; both sides are complete."""

    type: ClassVar[str] = "desired_lrp_changed"
    before: DesiredLRP
    after: DesiredLRP
    trace_id: str = ""


class DesiredLRPRemoved(Struct, frozen=True, gc=False):
    """A desired LRP was removed."""

    type: ClassVar[str] = "desired_lrp_removed"
    desired_lrp: DesiredLRP
    trace_id: str = ""


class ActualLRPInstanceCreated(Struct, frozen=True, gc=False):
    """A row was created; or unclaimed, and then its epoch was there before."""

    type: ClassVar[str] = "actual_lrp_instance_created"
    actual_lrp: ActualLRP
    trace_id: str = ""


class ActualLRPInstanceChanged(Struct, frozen=True, gc=False):
    """A row was written, or an instance moved from one row to another: then the two epochs differ.

    The wire carries one process, index, domain and instance key for both sides, and neither internal routes nor metric
    tags: on both rows here these two are empty, which says nothing about the server's.
    """

    type: ClassVar[str] = "actual_lrp_instance_changed"
    before: ActualLRP
    after: ActualLRP
    trace_id: str = ""


class ActualLRPInstanceRemoved(Struct, frozen=True, gc=False):
    """A row was removed; or an instance left a row that lives on, unclaimed, with a higher index."""

    type: ClassVar[str] = "actual_lrp_instance_removed"
    actual_lrp: ActualLRP
    trace_id: str = ""


class ActualLRPCreated(Struct, frozen=True, gc=False):
    """On the group stream: a slot was filled. The other slot is empty here, which says nothing about it."""

    type: ClassVar[str] = "actual_lrp_created"
    actual_lrp_group: ActualLRPGroup


class ActualLRPChanged(Struct, frozen=True, gc=False):
    """On the group stream: a slot was written. The other slot is empty here, which says nothing about it."""

    type: ClassVar[str] = "actual_lrp_changed"
    before: ActualLRPGroup
    after: ActualLRPGroup


class ActualLRPRemoved(Struct, frozen=True, gc=False):
    """On the group stream: a slot was emptied. The other slot is empty here, which says nothing about it."""

    type: ClassVar[str] = "actual_lrp_removed"
    actual_lrp_group: ActualLRPGroup


class ActualLRPCrashed(Struct, frozen=True, kw_only=True, gc=False):
    """An instance crashed. Information only: the change of the row is reported by other events."""

    type: ClassVar[str] = "actual_lrp_crashed"
    process_guid: str
    index: int = 0
    domain: str = ""
    instance_guid: str = ""
    cell_id: str = ""
    crash_count: int = 0
    crash_reason: str = ""
    since: int = 0


class UnknownEvent(Struct, frozen=True, gc=False):
    """An event of a type that this library does not know, as newer servers send; counted and skipped.

    Its printed form has the size of the data, not the data, which may be secret.
    """

    type: str
    data: bytes = b""

    def __repr__(self) -> str:
        return f"UnknownEvent({self.type!r}, <{len(self.data)} bytes>)"


class UnreadableEvent(Struct, frozen=True, gc=False):
    """An event that cannot be read: its payload is empty, damaged, or lacks the record that such an event is about.

    A BBS sends empty ones where a row was gone before its removal could be sent. It is counted and skipped, and the
    next list brings what it may have meant; where there are several, that list is read early. It has nothing of the
    payload, which could be secret.
    """

    type: ClassVar[str] = "unreadable"
    name: str
    """The type that it has on the wire."""
    size: int = 0
    """How many bytes its data has, as base64 text."""
    reason: str = ""
    """What is wrong with it."""


class SourceStatus(Struct, frozen=True):
    """How old a source's state is, as the source reports it; no event, but sent in order with them.

    A BBS never sends it, being the origin. A replica does, and any other source that passes on a BBS's state: the state
    of a follower that has applied everything before this was known to be the BBS's `age` seconds ago.
    """

    age: float
    """In seconds, at the time of sending."""
    trouble: str = ""
    """Why the source does not follow the BBS now, as the name of an error; empty where it does."""


Event = (
    DesiredLRPCreated
    | DesiredLRPChanged
    | DesiredLRPRemoved
    | ActualLRPInstanceCreated
    | ActualLRPInstanceChanged
    | ActualLRPInstanceRemoved
    | ActualLRPCreated
    | ActualLRPChanged
    | ActualLRPRemoved
    | ActualLRPCrashed
    | UnknownEvent
    | UnreadableEvent
)
"""Any event of either stream."""
