"""Protobuf messages as the JSON that Diego's tools print, in both directions, for any message of the schema.

A field's options (`proto/options.proto`) say how it prints. Rules beyond the options:

- A repeated field or message that is empty and not left out prints as null, as nil does in Go; a map as `{}`.
- An enum prints as its name, a number without a name as that number in a string; `update_strategy` as its number.
- `ProtoRoutes` prints as a map from router to the JSON that the router's bytes hold. Bytes that are no JSON, which
  Diego's tools fail on, print as a JSON string of their text; read back, a string whose text is no JSON becomes these
  bytes again.
- The limits of `ResourceLimits` print in place, without an object of their own.
- Where an optional field's key is in Go's spelling (`Routable`), a false value is left out of its object.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from lrpmirror.errors import MalformedRecord
from lrpmirror.wire.proto import options_pb2
from lrpmirror.wire.text import from_utf8

_MAX_DEPTH: Final = 100  # protobuf's own limit of messages in messages, and enough for any route
_IN_PLACE: Final = frozenset({"models.ResourceLimits.nofile", "models.ResourceLimits.nproc"})
_AS_NUMBER: Final = frozenset({"models.DesiredLRP.update_strategy"})
_ORDER: Final[Mapping[str, float]] = {"models.DesiredLRP.start_timeout_ms": 7.5}
_INT32: Final = (-(2**31), 2**31 - 1)
_LIMITS: Final[Mapping[int, tuple[int, int]]] = {
    FieldDescriptor.CPPTYPE_INT32: _INT32,
    FieldDescriptor.CPPTYPE_ENUM: _INT32,
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_KINDS: Final[Mapping[type, str]] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "an integer",
    bool: "true or false",
    float: "a fraction",
    type(None): "null",
}


class _Field:
    """The print options of one field, looked up once."""

    def __init__(self, field: FieldDescriptor) -> None:
        options: Any = field.GetOptions().Extensions
        self.name: str = field.name
        self.descriptor = field
        self.key: str = options[options_pb2.json_key] or field.name
        self.inlined: bool = options[options_pb2.inlined]
        self.omit_empty: bool = options[options_pb2.omit_empty]
        in_place = field.full_name in _IN_PLACE
        self.in_object: str = "" if in_place else options[options_pb2.in_object]
        self.optional = field.has_presence
        self.omit_default_in_object = bool(options[options_pb2.json_key])
        self.message = field.message_type
        self.enum = field.enum_type
        self.as_number = field.full_name in _AS_NUMBER
        self.map_value: _Field | None = None
        if self.message is not None and self.message.GetOptions().map_entry:
            self.map_value = _Field(self.message.fields_by_name["value"])
        self.repeated: bool = field.is_repeated and self.map_value is None
        self.limits = _LIMITS.get(field.cpp_type)
        self.is_text: bool = field.cpp_type == FieldDescriptor.CPPTYPE_STRING


@cache
def _fields(descriptor: Descriptor) -> tuple[_Field, ...]:
    ordered = sorted(enumerate(descriptor.fields, 1), key=lambda item: _ORDER.get(item[1].full_name, item[0]))
    return tuple(_Field(field) for _, field in ordered)


def print_message(message: Message) -> Any:
    """Return a message as JSON-ready values. Cost: about 1 µs a field that the message's type has."""
    if message.DESCRIPTOR.full_name == "models.ProtoRoutes":
        routes: Mapping[str, bytes] = message.routes  # type: ignore[attr-defined] # of this message, and none other
        return {router: _route(routes[router]) for router in sorted(routes)}
    out: dict[str, Any] = {}
    for field in _fields(message.DESCRIPTOR):
        value = getattr(message, field.name)
        if field.inlined:
            out.update(print_message(value))
        elif field.in_object:
            out[field.in_object] = _object(field, value) if message.HasField(field.name) else None
        elif field.optional and not message.HasField(field.name):
            if not field.omit_empty and field.message is not None:
                out[field.key] = None
        elif value or field.optional:
            out[field.key] = _print(field, value)
        elif not field.omit_empty:
            out[field.key] = None if field.repeated else _print(field, value)
    return out


def _object(field: _Field, value: Any) -> dict[str, Any]:
    return {} if field.omit_default_in_object and not value else {field.key: value}


def _print(field: _Field, value: Any) -> Any:
    if field.map_value is not None:
        return {key: _print(field.map_value, value[key]) for key in sorted(value)}
    convert = _printer(field)
    return [convert(item) for item in value] if field.repeated else convert(value)


def _printer(field: _Field) -> Callable[[Any], Any]:
    if field.message is not None:
        return print_message
    if field.enum is not None and not field.as_number:
        names = field.enum.values_by_number
        return lambda number: names[number].name if number in names else str(number)
    return _same


def _same(value: Any) -> Any:
    return value


def _route(raw: bytes) -> Any:
    value, ok = _parse(raw)
    if ok:
        return value
    text = from_utf8(raw)
    value, ok = _parse(text)
    return value if ok else text


def _parse(raw: bytes | str) -> tuple[Any, bool]:
    """Return the JSON that a route's bytes hold, and whether they hold any, of a depth that can be printed again."""
    try:
        value = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None, False
    return value, not _deeper(value, _MAX_DEPTH)


def _deeper(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return depth == 0 or any(_deeper(item, depth - 1) for item in value)


def fill_message(message: Message, value: Any, path: str = "$") -> None:
    """Set a message's fields from its JSON, the inverse of `print_message`; keys that the schema lacks are skipped.

    Raises MalformedRecord with the path of the first key whose value is not of its type or beyond its field's range.
    """
    _fill(message, value, path, _MAX_DEPTH)


def _fill(message: Message, value: Any, path: str, depth: int) -> None:
    _checked(value, dict, path)
    if not depth:
        raise MalformedRecord(f"the JSON at {path} is nested deeper than any record")
    if message.DESCRIPTOR.full_name == "models.ProtoRoutes":
        for router, route in value.items():
            at = f"{path}.{router}"
            message.routes[_text(router, at)] = _raw(route, at)  # type: ignore[attr-defined] # as above
        return
    for field in _fields(message.DESCRIPTOR):
        if field.inlined:
            target = getattr(message, field.name)
            target.SetInParent()
            _fill(target, value, path, depth - 1)
            continue
        key = field.in_object or field.key
        given = value.get(key)
        if given is not None:
            _set(message, field, given, f"{path}.{key}", depth)


def _set(message: Message, field: _Field, given: Any, path: str, depth: int) -> None:
    target = getattr(message, field.name)
    if field.in_object:
        inside = _checked(given, dict, path).get(field.key)
        setattr(message, field.name, False if inside is None else _scalar(field, inside, f"{path}.{field.key}"))
    elif field.map_value is not None:
        for key, item in _checked(given, dict, path).items():
            at = f"{path}.{key}"
            if field.map_value.message is not None:
                _fill(target[_text(key, at)], item, at, depth - 1)
            else:
                target[_text(key, at)] = _scalar(field.map_value, item, at)
    elif field.repeated:
        for position, item in enumerate(_checked(given, list, path)):
            at = f"{path}[{position}]"
            if field.message is not None:
                _fill(target.add(), item, at, depth - 1)
            else:
                target.append(_scalar(field, item, at))
    elif field.message is not None:
        target.SetInParent()
        _fill(target, given, path, depth - 1)
    else:
        setattr(message, field.name, _scalar(field, given, path))


def _scalar(field: _Field, given: Any, path: str) -> Any:
    if field.enum is not None and not (field.as_number and type(given) is int):
        return _enum(field.enum.values_by_name, given, path)
    if field.limits is not None:
        return _integer(given, field.limits, path)
    return _text(given, path) if field.is_text else _checked(given, bool, path)


def _enum(names: Mapping[str, Any], given: Any, path: str) -> int:
    if isinstance(given, str) and given in names:
        number: int = names[given].number
        return number
    try:
        return _integer(int(_checked(given, str, path)), _INT32, path)
    except ValueError as exc:
        raise MalformedRecord(f"the JSON at {path} needs one of {', '.join(names)}, or a number in a string") from exc


def _integer(given: Any, limits: tuple[int, int], path: str) -> int:
    number: int = _checked(given, int, path)
    if not limits[0] <= number <= limits[1]:
        raise MalformedRecord(f"the JSON at {path} needs a number from {limits[0]} to {limits[1]}")
    return number


def _text(given: Any, path: str) -> str:
    text: str = _checked(given, str, path)
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise MalformedRecord(f"the JSON at {path} has half of a surrogate pair, which is no text") from exc
    return text


def _raw(route: Any, path: str) -> bytes:
    if isinstance(route, str) and not _parse(_text(route, path))[1]:
        return route.encode()
    try:
        return msgspec.json.encode(route)
    except (ValueError, TypeError, RecursionError) as exc:
        raise MalformedRecord(f"the JSON at {path} is a value that JSON cannot hold") from exc


def _checked(given: Any, kind: type, path: str) -> Any:
    if type(given) is not kind:
        raise MalformedRecord(
            f"the JSON at {path} needs {_KINDS[kind]}, not {_KINDS.get(type(given), 'what is there')}"
        )
    return given
