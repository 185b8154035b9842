"""The records of a BBS as frozen values: rows, groups, desired LRPs, cells.

Values are never changed, only replaced, so a caller may keep one, pass it to another thread and compare it later.
Integers are the protocol's; `since` is nanoseconds since 1970. Enums admit values that a newer server may send:
`ActualLRPState("PAUSED")` and `Presence(7)` are members of their own, which compare and print like any other.
"""

from collections.abc import Mapping
from enum import StrEnum
from operator import attrgetter
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.detail import DesiredLRPDetail
from lrpmirror.enums import OpenIntEnum
from lrpmirror.frozen import frozen

LONG_TEXT: Final = 1024
"""A crash reason or placement error of so many bytes or more is cut when a BBS stores it."""

_KEPT: Final = 1013
_MARK: Final = b"(truncated)"
_SURELY_SHORT: Final = LONG_TEXT // 4  # characters, of which UTF-8 has four bytes each at most

EMPTY: Final[Mapping[str, str]] = frozen({})
"""The one empty mapping, shared by all rows without metric tags."""


def stored_bytes(text: bytes) -> bytes:
    """Return a crash reason or placement error as a BBS stores it: a long one is cut, even within a character.

    The event of the write itself has it in full; lists, and the `before` of the next event, have it as it was stored.
    """
    return text if len(text) < LONG_TEXT else text[:_KEPT] + _MARK


def stored_text(text: str) -> str:
    """Return a text as `stored_bytes` does with its bytes; a cut character becomes U+FFFD."""
    if len(text) < _SURELY_SHORT:
        return text
    data = text.encode(errors="replace")
    return text if len(data) < LONG_TEXT else stored_bytes(data).decode(errors="replace")


class ActualLRPState(StrEnum):
    """The state of an instance. Unknown states of a newer server are admitted."""

    UNCLAIMED = "UNCLAIMED"
    CLAIMED = "CLAIMED"
    RUNNING = "RUNNING"
    CRASHED = "CRASHED"

    # The hash of the text that it equals: rows are indexed by it, and Enum's own hash is a Python function.
    __hash__ = str.__hash__

    @classmethod
    def _missing_(cls, value: object) -> "ActualLRPState | None":
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = value
        member._value_ = value
        return member


class Presence(OpenIntEnum):
    """The role of a row at its index: the ordinary one, one that is leaving its cell, one whose cell is lost."""

    ORDINARY = 0
    EVACUATING = 1
    SUSPECT = 2


class PreferredAddress(OpenIntEnum):
    """Which of an instance's addresses to route to. UNKNOWN follows the deployment's default, which is HOST."""

    UNKNOWN = 0
    INSTANCE = 1
    HOST = 2


class DynamicValue(OpenIntEnum):
    """What a dynamic metric tag stands for."""

    INVALID = 0
    INDEX = 1
    INSTANCE_GUID = 2


class ModificationTag(Struct, frozen=True, gc=False):
    """The identity and version of a record: the epoch names the record, the index grows with each write of it."""

    epoch: str = ""
    index: int = 0


class PortMapping(Struct, frozen=True, gc=False):
    """One port of an instance: inside its container, on its cell, and the TLS proxy's of both (0: no proxy)."""

    container_port: int = 0
    host_port: int = 0
    container_tls_proxy_port: int = 0
    host_tls_proxy_port: int = 0


class ActualLRP(Struct, frozen=True, kw_only=True, gc=False):
    """One row of the BBS: one instance of a process, in one presence.

    `instance_guid` and `cell_id` are empty while the row is UNCLAIMED or CRASHED. `routable` is None where the server
    does not say. `epoch` and `tag_index` are the modification tag: the epoch names the record, for as long as it lives
    and in whatever state; the index is its version. The hash is that of the identity and version.
    """

    process_guid: str
    index: int = 0
    domain: str = ""
    instance_guid: str = ""
    cell_id: str = ""
    state: ActualLRPState = ActualLRPState.UNCLAIMED
    epoch: str = ""
    tag_index: int = 0
    presence: Presence = Presence.ORDINARY
    address: str = ""
    ports: tuple[PortMapping, ...] = ()
    instance_address: str = ""
    preferred_address: PreferredAddress = PreferredAddress.UNKNOWN
    instance_ipv6_address: str = ""
    crash_count: int = 0
    crash_reason: str = ""
    placement_error: str = ""
    since: int = 0
    internal_routes: tuple[str, ...] = ()
    metric_tags: Mapping[str, str] = EMPTY
    routable: bool | None = None
    availability_zone: str = ""

    @property
    def modification_tag(self) -> ModificationTag:
        """The epoch and index as one value."""
        return ModificationTag(self.epoch, self.tag_index)

    def carrying_over(self, stored: "ActualLRP") -> "ActualLRP":
        """Return this row of a diff as stored, with another's internal routes and metric tags, which it lacks. O(1)."""
        row = self.as_stored()
        if stored.internal_routes or stored.metric_tags:
            return replace(row, internal_routes=stored.internal_routes, metric_tags=stored.metric_tags)
        return row

    def taking_over(self, stored: "ActualLRP") -> "ActualLRP":
        """Return the same, where nobody else has this row: a subclass may change it instead of copying it. O(1)."""
        return self.carrying_over(stored)

    def decoded(self) -> "ActualLRP":
        """Return this row with its fields at hand; but perhaps without internal routes and metric tags. O(1).

        A subclass may decode fields when they are first read, and each time look whether it has.
        """
        return self

    def differing(self, other: "ActualLRP") -> frozenset[str]:
        """Return the names of the fields that differ, of all but internal routes and metric tags. O(1)."""
        one, two = _all_but_routes_and_tags(self.decoded()), _all_but_routes_and_tags(other.decoded())
        # Nearly all are equal.
        return frozenset(
            [
                name
                for name, mine, theirs in zip(_COMPARED, one, two, strict=True)
                if mine is not theirs and mine != theirs
            ]
        )

    def as_stored(self) -> "ActualLRP":
        """Return this row of an event as lists and later events have it: see `stored_bytes`. O(1)."""
        reason, error = stored_text(self.crash_reason), stored_text(self.placement_error)
        if reason is self.crash_reason and error is self.placement_error:
            return self
        return replace(self, crash_reason=reason, placement_error=error)

    def is_confirmed_by(self, listed: "ActualLRP") -> bool:
        """Return whether a listed row is equal; a subclass may keep its bytes for the next comparison. O(1)."""
        return self == listed

    def __hash__(self) -> int:
        return hash((self.process_guid, self.index, self.presence, self.epoch, self.tag_index))


_COMPARED: Final = tuple(
    [name for name in ActualLRP.__struct_fields__ if name not in ("internal_routes", "metric_tags")]
)

_all_but_routes_and_tags: Final = attrgetter(*_COMPARED)


class ActualLRPGroup(Struct, frozen=True, gc=False):
    """The rows of one index as `instance` and `evacuating`; either can be missing, not both."""

    instance: ActualLRP | None = None
    evacuating: ActualLRP | None = None

    def resolve(self) -> ActualLRP:
        """Return the one row that stands for the index, by Diego's own rule.

        The only slot that is filled; else `instance` when it is RUNNING or CRASHED; else `evacuating`.
        A group with neither slot filled, which no server sends, raises ValueError.
        """
        instance, evacuating = self.instance, self.evacuating
        if instance is None:
            if evacuating is None:
                raise ValueError("an ActualLRPGroup with no row resolves to nothing")
            return evacuating
        if evacuating is None or instance.state in (ActualLRPState.RUNNING, ActualLRPState.CRASHED):
            return instance
        return evacuating


class MetricTagValue(Struct, frozen=True, gc=False):
    """A metric tag of a desired LRP: a fixed text, or something that each instance fills in."""

    static: str = ""
    dynamic: DynamicValue = DynamicValue.INVALID


_NO_ROUTES: Final[Mapping[str, bytes]] = frozen({})
_NO_TAGS: Final[Mapping[str, MetricTagValue]] = frozen({})


class DesiredLRP(Struct, frozen=True, kw_only=True, gc=False):
    """What should run: a process, its number of instances, its routes, what it reserves.

    These are the fields that schedulers and routers use. `routes` maps a router's name to the raw JSON meant for it,
    which can be anything, even invalid. Everything else of the record (environment, actions, credentials) is in
    `detail`, which is None unless the mirror was opened with `detail="full"`. The printed form names the routers only
    and leaves `detail` out, since both carry secrets. The hash is that of the identity and version.
    """

    process_guid: str
    domain: str = ""
    log_guid: str = ""
    annotation: str = ""
    instances: int = 0
    memory_mb: int = 0
    disk_mb: int = 0
    root_fs: str = ""
    max_pids: int = 0
    routes: Mapping[str, bytes] = _NO_ROUTES
    volume_drivers: tuple[str, ...] = ()
    placement_tags: tuple[str, ...] = ()
    metric_tags: Mapping[str, MetricTagValue] = _NO_TAGS
    epoch: str = ""
    tag_index: int = 0
    detail: DesiredLRPDetail | None = None

    @property
    def modification_tag(self) -> ModificationTag:
        """The epoch and index as one value."""
        return ModificationTag(self.epoch, self.tag_index)

    @property
    def has_detail(self) -> bool:
        """Whether there is a `detail`; this never decodes it."""
        return self.detail is not None

    def without_detail(self) -> "DesiredLRP":
        """Return this without its `detail`. O(1)."""
        return self if self.detail is None else replace(self, detail=None)

    def as_listed(self) -> "DesiredLRP":
        """Return a whole record of an event as a list has it. O(1).

        When the server lists whole records, it fills in the deprecated metrics guid from the metric tag `source_id`; in
        events it does not. Without this, every list would look like a change.
        """
        if self.detail is None:
            return self
        source = self.metric_tags.get("source_id")
        if self.detail.metrics_guid or source is None:
            return self
        return replace(self, detail=replace(self.detail, metrics_guid=source.static))

    def __hash__(self) -> int:
        return hash((self.process_guid, self.epoch, self.tag_index))

    def __repr__(self) -> str:
        routers = ", ".join(sorted(self.routes))
        return (
            f"DesiredLRP({self.process_guid!r}, domain={self.domain!r}, instances={self.instances}, "
            f"memory_mb={self.memory_mb}, disk_mb={self.disk_mb}, routers=[{routers}], "
            f"epoch={self.epoch!r}, tag_index={self.tag_index})"
        )


class Provider(Struct, frozen=True, gc=False):
    """A root file system scheme that a cell offers, and its stacks where it has a fixed list."""

    name: str = ""
    properties: tuple[str, ...] = ()


class CellCapacity(Struct, frozen=True, gc=False):
    """The total capacity of a cell."""

    memory_mb: int = 0
    disk_mb: int = 0
    containers: int = 0


class CellPresence(Struct, frozen=True, kw_only=True, gc=False):
    """A cell that is present."""

    cell_id: str
    rep_address: str = ""
    zone: str = ""
    capacity: CellCapacity | None = None
    rootfs_providers: tuple[Provider, ...] = ()
    placement_tags: tuple[str, ...] = ()
    optional_placement_tags: tuple[str, ...] = ()
    rep_url: str = ""
    annotations: Mapping[str, str] = EMPTY
