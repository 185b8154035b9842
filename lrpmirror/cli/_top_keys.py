"""What a terminal sends, as keys. Pure functions."""

import re
from typing import Final

__all__ = ["keys_in"]

_SEQUENCE: Final = re.compile(rb"\x1b(?:\[[0-9;?]*[@-~]|O[@-~])")
_BEGUN: Final = re.compile(rb"\x1b(?:\[[0-9;?]*|O)?\Z")

_BY_LETTER: Final = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "Z": "backtab",
    "M": "enter",
}
_BY_NUMBER: Final = {"1": "home", "7": "home", "4": "end", "8": "end", "5": "pgup", "6": "pgdn", "3": "delete"}
_LEADS: Final = (0xC0, 0xE0, 0xF0)
"""From which first byte on a character has one byte more in UTF-8."""

_CONTROLS: Final = {
    0x03: "ctrl-c",
    0x08: "backspace",
    0x09: "tab",
    0x0A: "enter",
    0x0D: "enter",
    0x0C: "ctrl-l",
    0x15: "ctrl-u",
    0x1B: "esc",
    0x7F: "backspace",
}


def keys_in(data: bytes, *, more: bool) -> tuple[list[str], bytes]:
    """Return the keys in what a terminal sent, and what may be the beginning of another one.

    A key is a printable character or a name; what is neither is left out. `more` tells whether more may be on its way:
    otherwise an escape character at the end is the key of that name.
    """
    keys: list[str] = []
    while data:
        if more and _BEGUN.match(data):
            return keys, data
        if found := _SEQUENCE.match(data):
            keys += _named(found[0].decode())
            data = data[found.end() :]
        elif data[0] in _CONTROLS:
            keys.append(_CONTROLS[data[0]])
            data = data[1:]
        else:
            size = _size(data[0])
            if more and len(data) < size:
                return keys, data
            character = data[:size].decode(errors="replace")
            keys += [character] if len(character) == 1 and character.isprintable() else []
            data = data[size:]
    return keys, b""


def _named(sequence: str) -> list[str]:
    letter = sequence[-1]
    name = _BY_NUMBER.get(sequence[2:-1].partition(";")[0]) if letter == "~" else _BY_LETTER.get(letter)
    return [] if name is None else [name]


def _size(first: int) -> int:
    """Return how many bytes the UTF-8 of a character has, by its first."""
    return 1 + sum(first >= least for least in _LEADS)
