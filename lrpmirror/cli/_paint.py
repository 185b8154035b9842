"""How text, bars and colours are put on a line of a terminal. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from unicodedata import east_asian_width

from msgspec import Struct

from lrpmirror.cli._view import Kind
from lrpmirror.core.status import Phase

__all__ = [
    "BOLD",
    "DIM",
    "PHASES",
    "SIGNS",
    "Span",
    "Style",
    "bar",
    "clean",
    "clock",
    "columns",
    "cut",
    "legend",
    "painted",
    "sparkline",
]

Span = tuple[str, str]
"""Text, and the SGR parameters that it is shown with; empty for none."""

BOLD: Final = "1"
DIM: Final = "2"

SIGNS: Final[Mapping[Kind, Span]] = {
    Kind.RUNNING: ("#", "32"),
    Kind.CLAIMED: ("+", "36"),
    Kind.UNCLAIMED: (".", ""),
    Kind.CRASHED: ("x", "31;1"),
    Kind.EVACUATING: (">", "33"),
    Kind.SUSPECT: ("?", "35;1"),
    Kind.OTHER: ("*", ""),
}
"""How an instance of each kind is drawn in a bar."""

PHASES: Final[Mapping[Phase, tuple[str, str]]] = {
    Phase.CONNECTING: ("33;1", "connecting; there is nothing to show yet"),
    Phase.SYNCING: ("33;1", "connected; reading the first lists"),
    Phase.LIVE: ("32;1", "this is the server's state"),
    Phase.RESYNCING: ("33;1", "connected again; reading the lists, until then this may be old"),
    Phase.STALE: ("31;1", "out of touch; this is the last known state"),
    Phase.CLOSED: ("2", "closed"),
}


_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_LETTERS: Final = "_-=+*#"


class Style(Struct, frozen=True):
    """What the lines are for: so many columns and rows, in colour or not."""

    width: int = 80
    height: int = 24
    colour: bool = True
    blocks: bool = True
    """Whether the terminal can show more than ASCII."""


def legend() -> list[Span]:
    """Return what the signs of bars mean."""
    spans: list[Span] = []
    for kind, (sign, style) in SIGNS.items():
        if kind is not Kind.OTHER:
            spans += [("  " if spans else "", ""), (sign, style), (f" {kind.value}", DIM)]
    return spans


def bar(kinds: Mapping[Kind, int], width: int, longest: int = 0) -> list[Span]:
    """Draw a sign for each instance; where they do not fit, in proportion, with one at least for each kind.

    `longest` is the number of instances of the longest bar beside it: they are drawn to one scale.
    """
    total = max(sum(kinds.values()), longest)
    scale = 1.0 if total <= max(0, width) else max(0, width - len(kinds)) / total
    return [
        (sign * max(1, int(kinds[kind] * scale)), style) for kind, (sign, style) in SIGNS.items() if kinds.get(kind)
    ]


def sparkline(values: Sequence[float], style: Style) -> str:
    """Return one character for each value, the higher the greater it is, by the greatest of them; `.` is zero."""
    steps = _BLOCKS if style.blocks else _LETTERS
    most = max(values, default=0)
    return "".join("." if not one else steps[min(len(steps) - 1, int(one / most * len(steps)))] for one in values)


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def cut(text: str, width: int) -> str:
    """Return a text of at most so many characters, marked where its end is missing."""
    return text if len(text) <= width else text[: width - 1] + "~"


def clean(text: str) -> str:
    """Return text without what a terminal would obey: much of it was made up by a server."""
    return "".join(character if character.isprintable() else " " for character in text)


def painted(spans: Iterable[Span], style: Style) -> str:
    """Join spans, cut where the line is full."""
    out: list[str] = []
    room = style.width
    for text, sgr in spans:
        fitting = _fitting(clean(text), room)
        room -= columns(fitting)
        if fitting:
            out.append(f"\x1b[{sgr}m{fitting}\x1b[0m" if sgr and style.colour else fitting)
    return "".join(out)


def _fitting(text: str, room: int) -> str:
    if len(text) <= room and text.isascii():
        return text
    used = 0
    for place, character in enumerate(text):
        used += columns(character)
        if used > room:
            return text[:place]
    return text


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(2 if east_asian_width(one) in "WF" else 1 for one in text)
