"""Enums that admit values which a newer server may send."""

from enum import IntEnum


class OpenIntEnum(IntEnum):
    """An IntEnum that admits numbers without a name; their name is the number."""

    @classmethod
    def _missing_(cls, value: object) -> "OpenIntEnum | None":
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = str(value)
        member._value_ = value
        return member
