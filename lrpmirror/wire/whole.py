"""The rest of a desired LRP, between protobuf messages and the Structs of `lrpmirror.detail`.

Names are the same on both sides, so this follows the messages' own descriptions instead of spelling out thirty
messages. It is not fast, and need not be: the mirror keeps these fields only when it is asked to.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from msgspec import Struct

from lrpmirror import detail
from lrpmirror.detail import DesiredLRPDetail

_S = TypeVar("_S", bound=Struct)

_ENUMS: Final[Mapping[str, type[IntEnum]]] = {
    "models.DesiredLRP.UpdateStrategy": detail.UpdateStrategy,
    "models.ImageLayer.Type": detail.LayerType,
    "models.ImageLayer.MediaType": detail.MediaType,
    "models.ImageLayer.DigestAlgorithm": detail.DigestAlgorithm,
}
_ATTRIBUTES: Final[Mapping[str, str]] = {"from": "from_"}


def read_detail(message: Message) -> DesiredLRPDetail:
    """Return what a `models.DesiredLRP` has, which has none of the fields that `model.DesiredLRP` has itself."""
    return _read(message, DesiredLRPDetail)


def _read(message: Message, kind: type[_S]) -> _S:
    return kind(
        **{_ATTRIBUTES.get(field.name, field.name): _value(field, value) for field, value in message.ListFields()}
    )


def _value(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return MappingProxyType(dict(value))
    convert = _converter(field)
    return tuple(map(convert, value)) if field.is_repeated else convert(value)


def _converter(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.message_type is not None:
        kind: type[Struct] = getattr(detail, field.message_type.name)
        return lambda message: _read(message, kind)
    if field.enum_type is not None:
        return _ENUMS[field.enum_type.full_name]
    return _same


def _same(value: Any) -> Any:
    return value


def fill_detail(message: Message, value: Struct) -> None:
    """Set these fields of a `models.DesiredLRP`, or of a message in it.

    Raises ValueError or TypeError where one cannot hold its value.
    """
    for field in message.DESCRIPTOR.fields:
        given = getattr(value, _ATTRIBUTES.get(field.name, field.name), None)
        if given is None:
            continue
        if not field.is_repeated:
            if field.message_type is None:
                setattr(message, field.name, given)
                continue
            target = getattr(message, field.name)
            target.SetInParent()
            fill_detail(target, given)
        elif field.message_type is None:
            getattr(message, field.name).extend(given)
        elif field.message_type.GetOptions().map_entry:
            getattr(message, field.name).update(given)
        else:
            for item in given:
                fill_detail(getattr(message, field.name).add(), item)
