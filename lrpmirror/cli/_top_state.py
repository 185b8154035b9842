"""Where somebody is in `lrpmirror top`, and what a key does to it. Pure functions of frozen values."""

from enum import Enum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

__all__ = ["ORDERS", "Page", "PageKind", "State", "press", "settled"]


class PageKind(Enum):
    """What a page lists."""

    CELLS = "cells"
    PROCESSES = "processes"
    CHANGES = "changes"
    CELL = "cell"
    """The instances on one cell."""
    PROCESS = "process"
    """All there is of one process, as text."""


ORDERS: Final = {
    PageKind.CELLS: ("trouble", "name", "memory", "instances"),
    PageKind.PROCESSES: ("trouble", "name", "instances", "latest crash"),
    PageKind.CHANGES: ("latest",),
    PageKind.CELL: ("trouble", "name", "age"),
    PageKind.PROCESS: ("",),
}
"""What each kind of page can be sorted by."""


class Page(Struct, frozen=True, kw_only=True):
    """A list, and where one is in it.

    What is selected stays selected wherever it moves to, by its `key`; but for the first line, where one stays at
    the first. `count` and `room` (lines in all, and on the screen) and `under` (what is at the cursor on the screen)
    are those of the last frame.
    """

    kind: PageKind
    subject: str = ""
    """The cell or process that it is of."""
    cursor: int = 0
    top: int = 0
    key: str | None = None
    under: str | None = None
    count: int = 0
    room: int = 1
    order: int = 0
    text: str = ""
    """Only what has this in it is listed."""

    @property
    def ordered_by(self) -> str:
        """What it is sorted by."""
        return ORDERS[self.kind][self.order]


class State(Struct, frozen=True, kw_only=True):
    """Which pages there are, and which of them is looked at."""

    tabs: tuple[Page, ...] = (Page(kind=PageKind.CELLS), Page(kind=PageKind.PROCESSES), Page(kind=PageKind.CHANGES))
    focus: int = 0
    opened: tuple[Page, ...] = ()
    """The pages that were opened from the one below them, the last one on top."""
    typing: str | None = None
    """The text to filter by, while it is being typed: what it was before."""
    help: bool = False
    over: bool = False

    @property
    def page(self) -> Page:
        """The page that keys are for."""
        return self.opened[-1] if self.opened else self.tabs[self.focus]

    def with_page(self, page: Page) -> "State":
        """Return the state with another page in the place of that one."""
        if self.opened:
            return replace(self, opened=(*self.opened[:-1], page))
        return replace(self, tabs=(*self.tabs[: self.focus], page, *self.tabs[self.focus + 1 :]))


def press(state: State, key: str) -> State:
    """Return the state after a key: a character, or a name such as `up` (see `_top_keys`)."""
    if key == "ctrl-c":
        return replace(state, over=True)
    if state.typing is not None:
        return _typed(state, state.typing, key)
    if state.help:
        return replace(state, help=False)
    if key in ("q", "?"):
        return replace(state, over=key == "q", help=key == "?")
    return _walked(state, key)


def _walked(state: State, key: str) -> State:
    match key:
        case "tab" | "backtab" if not state.opened:
            return replace(state, focus=(state.focus + (1 if key == "tab" else -1)) % len(state.tabs))
        case "1" | "2" | "3":
            return replace(state, focus=int(key) - 1, opened=())
        case "esc" | "backspace" | "left" | "h":
            return _back(state)
        case "enter" | "right" | "l":
            return _open(state)
        case "s" | "S":
            return state.with_page(_sorted(state.page, 1 if key == "s" else -1))
        case "/" if state.page.kind is not PageKind.PROCESS:
            return replace(state, typing=state.page.text)
        case _:
            return state.with_page(_moved(state.page, key))


def settled(page: Page, *, count: int, room: int, place: int | None) -> Page:
    """Return the page as it fits a list of `count` lines, `room` of which are on the screen.

    `place` is where what is selected is now; None where it is gone, or nothing is.
    """
    room = max(1, room)
    last = max(0, count - 1)
    deepest = max(0, count - room)
    if page.kind is PageKind.PROCESS:
        return replace(page, count=count, room=room, cursor=0, top=max(0, min(page.top, deepest)))
    cursor = min(page.cursor if page.key is None or place is None else place, last)
    top = max(0, min(max(min(page.top, cursor), cursor - room + 1), deepest))
    return replace(page, count=count, room=room, cursor=cursor, top=top)


def _typed(state: State, before: str, key: str) -> State:
    page = state.page
    match key:
        case "enter":
            return replace(state, typing=None)
        case "esc":
            return replace(state.with_page(_filtered(page, before)), typing=None)
        case "backspace" if not page.text:
            return replace(state, typing=None)
        case "backspace":
            return state.with_page(_filtered(page, page.text[:-1]))
        case "ctrl-u":
            return state.with_page(_filtered(page, ""))
        case _ if len(key) == 1:
            return state.with_page(_filtered(page, page.text + key))
        case _:
            return state.with_page(_moved(page, key))


def _filtered(page: Page, text: str) -> Page:
    return replace(page, text=text, cursor=0, top=0, key=None)


def _sorted(page: Page, step: int) -> Page:
    order = (page.order + step) % len(ORDERS[page.kind])
    # The one that was selected goes where the order puts it, and the eye would have to search: back to the top.
    return page if order == page.order else replace(page, order=order, cursor=0, top=0, key=None)


def _back(state: State) -> State:
    if state.opened:
        return replace(state, opened=state.opened[:-1])
    return state.with_page(_filtered(state.page, "")) if state.page.text else state


def _open(state: State) -> State:
    page = state.page
    kind = PageKind.CELL if page.kind is PageKind.CELLS else PageKind.PROCESS
    if page.kind is PageKind.PROCESS or not page.under:
        return state
    # The keys of lists of instances and changes have the process before what makes them differ.
    subject = page.under if page.kind in (PageKind.CELLS, PageKind.PROCESSES) else page.under.partition(" ")[0]
    return replace(state, opened=(*state.opened, Page(kind=kind, subject=subject))) if subject else state


def _moved(page: Page, key: str) -> Page:
    far = max(1, page.room - 1)
    steps = {
        "up": -1,
        "k": -1,
        "down": 1,
        "j": 1,
        "pgup": -far,
        "pgdn": far,
        " ": far,
        "home": -page.count,
        "g": -page.count,
        "end": page.count,
        "G": page.count,
    }
    step = steps.get(key)
    if step is None:
        return page
    if page.kind is PageKind.PROCESS:
        return replace(page, top=max(0, min(page.top + step, page.count - page.room)))
    return replace(page, cursor=max(0, min(page.cursor + step, page.count - 1)), key=None)
