"""What `lrpmirror top` shows at one moment, as frozen values, and how much of it there is room for."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from lrpmirror.cli._top_state import Page, PageKind, State
from lrpmirror.cli._view import Kind
from lrpmirror.core.status import Phase
from lrpmirror.serve.pulse import Second
from lrpmirror.views import Health

__all__ = [
    "FULL",
    "CellLine",
    "InstanceLine",
    "Line",
    "NewsLine",
    "ProcessLine",
    "Snapshot",
    "Window",
    "columns_of",
    "head_of",
    "rooms",
]

FULL: Final = 0.95
"""The share of a cell's memory beyond which it is called full."""

_COLUMN: Final = 66
"""How many columns of the terminal one column of cells takes."""

_TALL: Final = 34
"""From this height on all three lists are shown at once."""

_LOW: Final = 16
"""Below this height the head is only two lines."""


class CellLine(Struct, frozen=True, kw_only=True):
    """A cell."""

    cell_id: str
    zone: str = ""
    present: bool = True
    kinds: Mapping[Kind, int]
    memory_share: float | None = None
    """The share of its memory that is reserved, from 0; None where that is not known."""

    @property
    def key(self) -> str:
        """What it is known by."""
        return self.cell_id


class ProcessLine(Struct, frozen=True, kw_only=True):
    """A process: how it is, and why."""

    process_guid: str
    name: str
    health: Health
    desired: int
    running: int
    kinds: Mapping[Kind, int]
    why: str = ""

    @property
    def key(self) -> str:
        """What it is known by."""
        return self.process_guid


class InstanceLine(Struct, frozen=True, kw_only=True):
    """An instance on a cell."""

    key: str
    name: str
    kind: Kind
    state: str
    age: str
    notes: str = ""


class NewsLine(Struct, frozen=True, kw_only=True):
    """Something that has happened, and at what time."""

    key: str
    time: str
    text: str


Line = CellLine | ProcessLine | InstanceLine | NewsLine | str
"""A line of any list; of a process, text."""


class Window(Struct, frozen=True, kw_only=True):
    """The part of a list that is on the screen."""

    page: Page
    lines: tuple[Line, ...] = ()
    title: str = ""
    """What it is of, beyond its kind."""
    more: str = ""
    """What else there is to say of that."""
    total: int = 0
    """How many lines there are that the filter leaves out or not."""
    columns: int = 1
    """In how many columns the lines stand, one column after the other."""
    longest: int = 0
    """The number of instances of the longest bar."""


class Snapshot(Struct, frozen=True, kw_only=True):
    """Everything that is shown. Times are in seconds."""

    url: str
    phase: Phase
    age: float | None = None
    """Since the last proof of life."""
    silence: float | None = None
    """Since the stream itself was last heard."""
    listed: float | None = None
    """Since the last lists."""
    revision: int = 0
    error: str = ""
    """What last went wrong."""
    error_over: bool = False
    """Whether it has been overcome."""
    reading: str = ""
    """How far the lists are, while there is no state."""
    kinds: Mapping[Kind, int]
    healths: Mapping[Health, int]
    cells: int = 0
    cells_gone: int = 0
    cells_full: int = 0
    rates: tuple[Second, ...] = ()
    """The seconds of the last minutes, the oldest first."""
    windows: tuple[Window, ...]
    """As many as `rooms` has."""


def head_of(height: int) -> int:
    """Return how many lines there are above the lists."""
    return 2 if height < _LOW else 5


def columns_of(page: Page, width: int) -> int:
    """Return in how many columns a page's lines stand on a screen so wide: cells are short."""
    return max(1, width // _COLUMN) if page.kind is PageKind.CELLS else 1


def rooms(state: State, height: int) -> tuple[tuple[int | None, int], ...]:
    """Return which tabs are on a screen so high, each with how many lines of its list; None is the page on top.

    Each has a line more for its title; the last line of the screen is for the keys.
    """
    room = max(2, height - head_of(height) - 1)
    if state.opened:
        return ((None, room - 1),)
    if height < _TALL:
        return ((state.focus, room - 1),)
    count = len(state.tabs)
    small = room // (count + 1)
    return tuple((tab, (room - small * (count - 1) if tab == state.focus else small) - 1) for tab in range(count))
