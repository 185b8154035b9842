"""Rows that are decoded in two steps: the fields that the store indexes at once, the rest when first read.

About thirty attribute reads on a protobuf message are three quarters of what decoding a row costs, and most rows of a
large deployment are never asked for more than their identity, state and cell. So a row from the wire is made of these
few, and keeps the rest as bytes. They have been parsed, so reading them later cannot fail.

What is kept of a record is written anew, without what was decoded (a third of it) and with its metric tags in order: a
server writes them in another order each time, and two lists of one row should have the same bytes, which are fast to
compare.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, ClassVar, Final

from google.protobuf.message import DecodeError
from msgspec import UNSET, Struct, defstruct
from msgspec.structs import force_setattr, replace

from lrpmirror.model import EMPTY, ActualLRP, ActualLRPGroup, ActualLRPState, PortMapping, PreferredAddress, Presence
from lrpmirror.wire.proto import diego_pb2, events_pb2, hot_pb2
from lrpmirror.wire.values import PRESENCES, STATES, readable_record, rest_of_side, routes_and_tags, without

_LATER: Final[Any] = UNSET

_parse_record: Final = diego_pb2.ActualLRP.FromString
_parse_rest: Final = hot_pb2.ActualLRP.FromString
_parse_change: Final = events_pb2.ActualLRPInstanceChangedEvent.FromString


class Memory(Struct, frozen=True, gc=False):
    """What has been decoded of the bytes of a record, once it was asked for.

    Of a row internal routes and metric tags are unset until one of the two is asked for: they take two thirds of the
    time, and few ask. It equals everything: what has been read yet is no difference between two records.
    """

    known: Any = None

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


NOTHING: Final = Memory()
same_slots: Final = Struct.__eq__


class _Shared(dict[str, str]):
    """Texts that many rows have, domains and cells, one of each: a tenth of what a row takes.

    Bounded in number and length. When it is full it begins anew, with those that rows have now.
    """

    def __missing__(self, text: str) -> str:
        if len(text) > LONGEST_SHARED:
            return text
        if len(self) >= MOST_SHARED:
            self.clear()
        self[text] = text
        return text


LONGEST_SHARED: Final = 100
"""Characters of a text that is shared. Cells' ids have 36; what is longer may be anything, and would stay."""


MOST_SHARED: Final = 10_000
"""How many texts are shared, since a server could make up any number of them."""

_shared: Final = _Shared()


def _read_row(source: bytes) -> tuple[Any, ...]:
    return rest_of_side(_parse_rest(source))


class LazyActualLRP(ActualLRP, frozen=True, gc=False):
    """A row from the wire. To its users it is an ActualLRP, whose fields it has.

    Those that are decoded at once come first, in the order in which they are handed over. The others are unset, unless
    `msgspec.structs.replace` has given them another value than the bytes have; reading one of them reads all, once.
    """

    process_guid: str
    index: int
    domain: str
    instance_guid: str
    cell_id: str
    state: ActualLRPState
    epoch: str
    tag_index: int
    presence: Presence
    address: str = _LATER
    ports: tuple[PortMapping, ...] = _LATER
    instance_address: str = _LATER
    preferred_address: PreferredAddress = _LATER
    instance_ipv6_address: str = _LATER
    crash_count: int = _LATER
    crash_reason: str = _LATER
    placement_error: str = _LATER
    since: int = _LATER
    internal_routes: tuple[str, ...] = _LATER
    metric_tags: Mapping[str, str] = _LATER
    routable: bool | None = _LATER
    availability_zone: str = _LATER
    source: bytes = b""
    """The rest of the record; or the event, where the row is a side of a diff."""
    read: Callable[[bytes], tuple[Any, ...]] = _read_row
    """Reads the rest of the row in the source, but internal routes and metric tags."""
    carried: bytes = b""
    """The source that the internal routes and metric tags are from, where the row's own is a diff, which has none."""
    memory: Memory = NOTHING
    stored: ActualLRP | None = None
    """Of an event's row with a long text: the row as the server has stored it."""
    own_routes: ClassVar[object] = ActualLRP.internal_routes
    own_tags: ClassVar[object] = ActualLRP.metric_tags
    """The slots of these two under other names: what the row has been given, where it was, without reading it."""

    def as_stored(self) -> ActualLRP:
        """Return this row of an event as lists have it; without reading it, since that was seen when it was decoded."""
        return self if self.stored is None else self.stored

    def carrying_over(self, stored: ActualLRP) -> ActualLRP:
        """Return this row of a diff as stored, with what it lacks; of another lazy one without reading it."""
        if self.stored is not None:
            return self.stored.carrying_over(stored)
        if type(stored) is not LazyActualLRP or stored.own_routes is not UNSET or stored.own_tags is not UNSET:
            return super().carrying_over(stored)
        carried = stored.carried or (stored.source if stored.read is _read_row else b"")
        # Who has read this row has read that it has neither, which the other one does not inherit.
        if not carried:
            return self
        return (
            replace(self, carried=carried) if self.memory is NOTHING else replace(self, carried=carried, memory=NOTHING)
        )

    def taking_over(self, stored: ActualLRP) -> ActualLRP:
        """Return the same where nobody else has this row: itself, if it has not been read, which saves a copy."""
        new = self.read is _read_after and not self.carried and self.memory is NOTHING and self.stored is None
        if not new or type(stored) is not LazyActualLRP or not (stored.own_routes is stored.own_tags is UNSET):
            return self.carrying_over(stored)
        carried = stored.carried or (stored.source if stored.read is _read_row else b"")
        if carried:
            force_setattr(self, "carried", carried)
        return self

    def is_confirmed_by(self, listed: ActualLRP) -> bool:
        """Return whether another row is equal; if its bytes differ, take them over, to know the next such row by them.

        The row's values do not change: it has been read to compare it, and what was read is kept.
        """
        # Nearly every listed row is one with the same bytes: to compare these first takes half the time.
        if same_slots(self, listed) is True:
            return True
        if self != listed:
            return False
        if type(listed) is LazyActualLRP and _is_whole(self.memory.known) and _is_whole(listed.memory.known):
            for field in ("source", "read", "carried"):
                force_setattr(self, field, getattr(listed, field))
        return True

    def decoded(self) -> ActualLRP:
        """Return this row with its fields at hand, but for internal routes and metric tags."""
        known = self.memory.known
        if _given(self) == _NONE_GIVEN and (known is None or _at_once(self) == _at_once(known)):
            return known or _rest(self)
        # It was given other values since.
        return ActualLRP(**{name: getattr(self, name) for name in (*_AT_ONCE, *_REST)})

    def differing(self, other: ActualLRP) -> frozenset[str]:
        """Return the names of the fields that differ; without decoding more, where the bytes of both are the same."""
        if (
            type(other) is LazyActualLRP
            and self.source == other.source
            and self.read is other.read
            and _given(self) == _given(other)
        ):
            one, two = _at_once(self), _at_once(other)
            return frozenset([name for name, mine, theirs in zip(_AT_ONCE, one, two, strict=True) if mine != theirs])
        return super().differing(other)

    def __eq__(self, other: object) -> bool:
        if type(other) is not LazyActualLRP and not isinstance(other, ActualLRP):
            return NotImplemented
        if self.tag_index != other.tag_index or self.epoch != other.epoch:
            return False
        # As bytes first. Where these differ, which a record's do from a diff's, what they say can be the same.
        if same_slots(self, other) is True:
            return True
        return all(getattr(self, name) == getattr(other, name) for name in _FIELDS)

    def __ne__(self, other: object) -> bool:
        # A Struct has its own, which would compare the slots.
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    __hash__ = ActualLRP.__hash__

    def __repr__(self) -> str:
        return repr(eager(self))

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in _FIELDS]

    def __reduce__(self) -> tuple[Any, ...]:
        return eager(self).__reduce__()  # type: ignore[return-value]  # a tuple, as of every Struct


def lazy_record(record: bytes, what: str) -> LazyActualLRP:
    """Return the row of a record. Cost: about 3 µs beyond the parsing; reading the rest of it 8 µs, once."""
    try:
        message = _parse_record(record)
    except DecodeError:
        message = _parse_record(readable_record(diego_pb2.ActualLRP, record, what))
    return lazy_row(message, what)


def lazy_row(message: diego_pb2.ActualLRP, what: str) -> LazyActualLRP:
    """Return the row of a message, which is given away."""
    key = message.actual_lrp_key
    process_guid = key.process_guid
    if not process_guid:
        raise without(what, "process guid")
    instance_key, tag = message.actual_lrp_instance_key, message.modification_tag
    decoded = (
        process_guid,
        key.index,
        _shared[key.domain],
        instance_key.instance_guid,
        _shared[instance_key.cell_id],
        STATES[message.state],
        tag.epoch,
        tag.index,
        PRESENCES[message.presence],
    )
    for field in ("actual_lrp_key", "actual_lrp_instance_key", "modification_tag"):
        message.ClearField(field)
    return LazyActualLRP(*decoded, source=message.SerializeToString(deterministic=True))


def lazy_group(message: diego_pb2.ActualLRPGroup, what: str) -> ActualLRPGroup:
    """Return the group of a message, which is given away; one of its slots is filled."""
    instance = lazy_row(message.instance, what) if message.HasField("instance") else None
    evacuating = lazy_row(message.evacuating, what) if message.HasField("evacuating") else None
    if instance is evacuating:
        raise without(what, "row in either slot")
    return ActualLRPGroup(instance, evacuating)


def fill_undecoded(message: diego_pb2.ActualLRP, row: ActualLRP) -> bool:
    """Set the fields of a message that a row has in its bytes only, and leave the row unread.

    Return False, and set nothing, where there are none, or the row was given other values than they have. Cost: about
    3 µs.
    """
    if type(row) is not LazyActualLRP or _all_given(row) != _NOTHING_GIVEN:
        return False
    # In this order, and rows that were read in whole only from records: they take over another's bytes, perhaps right
    # now, in another thread. See `is_confirmed_by`.
    read, source, carried = row.read, row.source, row.carried
    if read is _read_row:
        message.MergeFromString(source)
    elif read is _read_after and carried and not _is_whole(row.memory.known):
        after = _parse_change(source).after
        message.MergeFromString(carried)
        message.actual_lrp_net_info.CopyFrom(after.actual_lrp_net_info)
        for name in _IN_BOTH:
            setattr(message, name, getattr(after, name))
        message.ClearField("routable")
        if after.HasField("routable"):
            message.routable = after.routable
    else:
        return False
    # What a newer server sends is in none of the fields, and equal rows have the same bytes.
    message.DiscardUnknownFields()
    return True


def lazy_change(
    payload: bytes, message: events_pb2.ActualLRPInstanceChangedEvent, what: str
) -> tuple[LazyActualLRP, LazyActualLRP]:
    """Return the two sides of a diff, which share their keys and their source. Cost: about 2 µs."""
    key, instance_key, before, after = (
        message.actual_lrp_key,
        message.actual_lrp_instance_key,
        message.before,
        message.after,
    )
    process_guid = key.process_guid
    if not process_guid:
        raise without(what, "process guid")
    old, new = before.state, after.state
    # Every row has a state, so only where one is missing is the slower question asked.
    if not (old and new) and not (message.HasField("before") and message.HasField("after")):
        raise without(what, "row before or after")
    index, domain = key.index, _shared[key.domain]
    instance_guid, cell_id = instance_key.instance_guid, _shared[instance_key.cell_id]
    old_tag, new_tag = before.modification_tag, after.modification_tag
    return (
        LazyActualLRP(
            process_guid,
            index,
            domain,
            instance_guid,
            cell_id,
            STATES[old],
            old_tag.epoch,
            old_tag.index,
            PRESENCES[before.presence],
            source=payload,
            read=_read_before,
        ),
        LazyActualLRP(
            process_guid,
            index,
            domain,
            instance_guid,
            cell_id,
            STATES[new],
            new_tag.epoch,
            new_tag.index,
            PRESENCES[after.presence],
            source=payload,
            read=_read_after,
        ),
    )


_IN_BOTH: Final = ("crash_count", "crash_reason", "placement_error", "since", "availability_zone")
"""The fields of a row that its record has as a side of a diff has them."""


def _read_before(source: bytes) -> tuple[Any, ...]:
    return rest_of_side(_parse_change(source).before)


def _read_after(source: bytes) -> tuple[Any, ...]:
    return rest_of_side(_parse_change(source).after)


_FIELDS: Final = ActualLRP.__struct_fields__
_AT_ONCE: Final = _FIELDS[: _FIELDS.index("presence") + 1]
_ONLY_IN_RECORDS: Final = ("internal_routes", "metric_tags")
_BEFORE_ROUTES: Final = _FIELDS.index(_ONLY_IN_RECORDS[0]) - len(_AT_ONCE)
_NOT_YET: Final = (_LATER,) * len(_ONLY_IN_RECORDS)
_REST: Final = tuple([name for name in _FIELDS if name not in (*_AT_ONCE, *_ONLY_IN_RECORDS)])


_Decoded: Final[type[Any]] = defstruct(
    "_Decoded", [(name, object, _LATER) for name in _FIELDS], bases=(ActualLRP,), frozen=True, gc=False
)
"""A row whose fields can be given by place, in their order."""


def _rest(row: LazyActualLRP) -> ActualLRP:
    """Return the row decoded but for internal routes and metric tags, and keep it. Two threads may both do it."""
    source, read = row.source, row.read
    # Another thread can have read the row since it was found unread, and only a row that was read takes over another's
    # bytes: where it still has not been, these belong together. See `is_confirmed_by`.
    known: ActualLRP | None = row.memory.known
    if known is None:
        rest = read(source)
        # By place: by name it takes twice as long.
        known = _Decoded(
            row.process_guid,
            row.index,
            row.domain,
            row.instance_guid,
            row.cell_id,
            row.state,
            row.epoch,
            row.tag_index,
            row.presence,
            *rest[:_BEFORE_ROUTES],
            *_NOT_YET,
            *rest[_BEFORE_ROUTES:],
        )
        memory = Memory(known)
        # The interpreter switches to no other thread between these two: what another one has read in whole stays.
        if row.memory.known is None:  # pragma: no branch - in a race only
            force_setattr(row, "memory", memory)
    return known


def _whole(row: LazyActualLRP) -> ActualLRP:
    """Return the fully decoded row, and keep it; as `_rest` does."""
    record = row.carried or (row.source if row.read is _read_row else b"")
    known: ActualLRP = row.memory.known or _rest(row)
    if not _is_whole(known):
        known = replace(known, **(routes_and_tags(_parse_record(record)) if record else _NEITHER))
        force_setattr(row, "memory", Memory(known))
    return known


_NEITHER: Final[Mapping[str, Any]] = {"internal_routes": (), "metric_tags": EMPTY}


def _is_whole(row: ActualLRP | None) -> bool:
    return row is not None and row.metric_tags is not _LATER


def eager(row: ActualLRP | None) -> ActualLRP | None:
    """Return a row as one that was never lazy; None for none."""
    return None if row is None else ActualLRP(**{name: getattr(row, name) for name in _FIELDS})


_memory: Final[Callable[[LazyActualLRP], Memory]] = LazyActualLRP.memory.__get__  # type: ignore[attr-defined]


def _later(name: str, read: Callable[[LazyActualLRP], ActualLRP]) -> property:
    """Return a field that is read from the row's bytes, unless the row has been given a value of its own."""
    own, of_known = getattr(ActualLRP, name).__get__, attrgetter(name)

    def value(row: LazyActualLRP) -> Any:
        given = own(row)
        if given is not UNSET:
            return given
        known = _memory(row).known
        if known is not None:
            found = of_known(known)
            if found is not UNSET:
                return found
        return of_known(read(row))

    return property(value, doc=f"The {name} of the row, read when it is first asked for.")


# Over the slots, which stay where they are: the fields of a Struct cannot be declared as properties.
for _name in _FIELDS[len(_AT_ONCE) :]:
    setattr(LazyActualLRP, f"own_{_name}", getattr(ActualLRP, _name))
    setattr(LazyActualLRP, _name, _later(_name, _whole if _name in _ONLY_IN_RECORDS else _rest))

_at_once: Final = attrgetter(*_AT_ONCE)
_given: Final = attrgetter(*(f"own_{name}" for name in _REST))
_NONE_GIVEN: Final = (UNSET,) * len(_REST)
_all_given: Final = attrgetter(*(f"own_{name}" for name in _FIELDS[len(_AT_ONCE) :]))
_NOTHING_GIVEN: Final = (UNSET,) * len(_FIELDS[len(_AT_ONCE) :])
