"""Desired LRPs whose detail is decoded when it is first read.

What schedulers and routers use is decoded at once. The rest of a record is thirty kinds of messages, takes four times
as long, and is mostly never read: it is kept as bytes. They have been parsed, so reading them later cannot fail;
and they are written anew, without what was decoded and with maps in order, so that equal records have equal bytes.
"""

from typing import Any, Final

from msgspec import UNSET
from msgspec.structs import force_setattr, replace

from lrpmirror.detail import DesiredLRPDetail
from lrpmirror.model import DesiredLRP
from lrpmirror.wire.lazy import NOTHING, Memory, same_slots
from lrpmirror.wire.proto import diego_pb2
from lrpmirror.wire.values import desired_value
from lrpmirror.wire.whole import read_detail

_LATER: Final[Any] = UNSET
_parse: Final = diego_pb2.DesiredLRP.FromString

_FIELDS: Final = DesiredLRP.__struct_fields__
_DECODED: Final = (
    "modification_tag",
    *(name for name in _FIELDS if name in diego_pb2.DesiredLRP.DESCRIPTOR.fields_by_name),
)
"""The fields of a record that `DesiredLRP` has itself."""


_own_detail: Final[Any] = vars(DesiredLRP)["detail"].__get__


class LazyDesiredLRP(DesiredLRP, frozen=True, kw_only=True, gc=False):
    """A whole desired LRP from the wire. To its users it is a DesiredLRP with its `detail`."""

    detail: DesiredLRPDetail | None = _LATER
    source: bytes = b""
    """The rest of the record."""
    guided: bool = False
    """Whether the rest has a metrics guid."""
    memory: Memory = NOTHING

    @property
    def has_detail(self) -> bool:
        """Whether there is a detail; known without reading it."""
        return _own_detail(self) is not None

    def without_detail(self) -> DesiredLRP:
        """Return this without its detail, nor the bytes of it."""
        return DesiredLRP(**{name: getattr(self, name) for name in _FIELDS if name != "detail"})

    def as_listed(self) -> DesiredLRP:
        """Return this record of an event as a list has it, without reading more than the metrics guid."""
        if _own_detail(self) is not UNSET:
            return super().as_listed()
        source = self.metric_tags.get("source_id")
        if self.guided or source is None:
            return self
        message = _parse(self.source)
        message.metrics_guid = source.static
        rest = message.SerializeToString(deterministic=True)
        return replace(self, source=rest, guided=bool(source.static), memory=NOTHING)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DesiredLRP):
            return NotImplemented
        if self.tag_index != other.tag_index or self.epoch != other.epoch:
            return False
        # As bytes first; where those differ, what they say can be the same.
        if same_slots(self, other) is True:
            return True
        return all(getattr(self, name) == getattr(other, name) for name in _FIELDS)

    def __ne__(self, other: object) -> bool:
        # A Struct has its own, which would compare the slots.
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    __hash__ = DesiredLRP.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        eager = DesiredLRP(**{name: getattr(self, name) for name in _FIELDS})
        return eager.__reduce__()  # type: ignore[return-value]  # a tuple, as of every Struct


def lazy_desired(message: diego_pb2.DesiredLRP, what: str) -> DesiredLRP:
    """Return the desired LRP of a message, which is given away. Cost: about 10 µs; reading its detail 40 µs, once."""

    def make(**fields: Any) -> DesiredLRP:
        guided = bool(message.metrics_guid)
        for name in _DECODED:
            message.ClearField(name)
        return LazyDesiredLRP(**fields, source=message.SerializeToString(deterministic=True), guided=guided)

    return desired_value(message, what, make)


def rest_of(desired: DesiredLRP) -> bytes | None:
    """Return what a whole record has beside the fields of a desired LRP; None where it has to be made of its detail."""
    return desired.source if isinstance(desired, LazyDesiredLRP) and _own_detail(desired) is UNSET else None


def _detail(desired: LazyDesiredLRP) -> DesiredLRPDetail | None:
    given = _own_detail(desired)
    if given is not UNSET:
        return given  # type: ignore[no-any-return]  # what the slot holds
    detail: DesiredLRPDetail | None = desired.memory.known
    if detail is None:
        detail = read_detail(_parse(desired.source))
        force_setattr(desired, "memory", Memory(detail))
    return detail


# Over the slot, which stays where it is: a field of a Struct cannot be declared as a property.
LazyDesiredLRP.detail = property(  # type: ignore[assignment]  # as said
    _detail, doc="The rest of the record, read when it is first asked for."
)
