"""Styled text that the screens of `top` and `demo` share, and that of `demo`. Needs the extra `cli`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TextIO

import trio
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from lrpmirror.cli.shared.output import printable
from lrpmirror.cli.shared.view import CellView, Display, Kind, NewsItem, ProcessView, View, amounts, clock
from lrpmirror.core.freshness.status import Phase

SIGNS: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.RUNNING: ("#", "green"),
    Kind.CLAIMED: ("+", "cyan"),
    Kind.UNCLAIMED: (".", ""),
    Kind.CRASHED: ("x", "bold red"),
    Kind.EVACUATING: (">", "yellow"),
    Kind.SUSPECT: ("?", "bold magenta"),
    Kind.OTHER: ("*", ""),
}
"""How an instance of each kind is drawn in a bar, and its style."""

PHASES: Final[Mapping[Phase, tuple[str, str]]] = {
    Phase.CONNECTING: ("bold yellow", "connecting; there is nothing to show yet"),
    Phase.SYNCING: ("bold yellow", "connected; reading the first lists"),
    Phase.LIVE: ("bold green", "this is the server's state"),
    Phase.RESYNCING: ("bold yellow", "connected again; reading the lists, until then this may be old"),
    Phase.STALE: ("bold red", "out of touch; this is the last known state"),
    Phase.CLOSED: ("dim", "closed"),
}
"""How each phase is shown, and what it means for the content."""


def line(*parts: str | tuple[str, str]) -> Text:
    """Return a line of parts, with or without a style, cut where the screen ends, without control characters."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for part in parts:
        content, style = (part, "") if isinstance(part, str) else part
        text.append(printable(content), style)
    return text


def phase_line(phase: Phase, meaning: str = "") -> Text:
    """Return the line on the phase and what it means for the content, or another text in its place."""
    style, usual = PHASES[phase]
    return line((f" {phase.name} ", f"{style} reverse"), f"  {meaning or usual}")


def legend() -> Text:
    """Return what the signs of bars mean."""
    signs = [(kind, *sign) for kind, sign in SIGNS.items() if kind is not Kind.OTHER]
    return line("  ").join(line((sign, style), (f" {kind.value}", "dim")) for kind, sign, style in signs)


def bar(kinds: Mapping[Kind, int], width: int, longest: int = 0) -> Text:
    """Draw a sign for each instance, in proportion where they do not fit; to the scale of the `longest` bar."""
    total = max(sum(kinds.values()), longest)
    scale = 1.0 if total <= max(0, width) else max(0, width - len(kinds)) / total
    return line(
        *((sign * max(1, int(kinds[kind] * scale)), style) for kind, (sign, style) in SIGNS.items() if kinds.get(kind))
    )


_NAME: Final = 16
_COUNT: Final = 7


def render(view: View, width: int, height: int) -> list[Text]:
    """Return the view as at most so many lines: freshness, cells, processes, news, each as there is room."""
    return [*_head(view), *_body(view, width, height)][:height]


def _head(view: View) -> list[Text]:
    status = view.status
    ages = [] if status.age is None else [f"the server was last heard {status.age:.1f} s ago"]
    ages += [] if status.synced_at is None else [f"the last lists are {status.at - status.synced_at:.0f} s old"]
    return [
        phase_line(status.phase),
        line((f"{view.title}, {clock(view.elapsed)}, revision {status.revision}; Ctrl-C ends it", "dim")),
        line((", ".join(ages) or "the server was not heard yet", "dim")),
        *([] if status.trouble is None else [line((str(status.trouble), "red"))]),
        line(f"{amounts(view)}; {status.desired_lrps} desired, domains: {', '.join(view.domains) or 'none'}"),
        legend(),
    ]


def _body(view: View, width: int, height: int) -> list[Text]:
    """Share what is left of the screen: a third for the cells at most, half of the rest for the processes at most."""
    room = max(0, height - len(_head(view)))
    cells = _section("CELLS", [_cell(cell, width) for cell in view.cells], room // 3)
    room -= len(cells)
    processes = _section("PROCESSES, trouble first", [_process(one, width) for one in view.processes], room // 2)
    news = _section("NEWS", [line((f"{clock(one.at)}  ", "dim"), one.text) for one in view.news], room - len(processes))
    return [*cells, *processes, *news]


def _section(title: str, lines: Sequence[Text], room: int) -> list[Text]:
    """Return a heading with as many of the lines as fit; the heading says how many do not."""
    shown = max(0, min(len(lines), room - 2))
    if not shown:
        return []
    hidden = f"  ({len(lines) - shown} more)" if shown < len(lines) else ""
    return [line(), line((title, "bold"), (hidden, "dim")), *lines[:shown]]


def _cell(cell: CellView, width: int) -> Text:
    mark = "" if cell.present else " gone"
    label = f"{_cut(cell.cell_id or 'on no cell'):<{_NAME}} {cell.zone or '-':<4}{sum(cell.kinds.values()):>4} "
    drawn = bar(cell.kinds, width - len(label) - len(mark))
    return line((label, "" if cell.present else "magenta")).append_text(drawn).append(mark, "magenta")


def _process(process: ProcessView, width: int) -> Text:
    running = process.kinds.get(Kind.RUNNING, 0)
    wanted = "-" if process.wanted is None else str(process.wanted)
    label = f"{_cut(process.name):<{_NAME}} {f'{running}/{wanted}':>{_COUNT}} "
    drawn = bar(process.kinds, max(0, width - len(label)) // 2)
    note = line((f"  {process.note}" if process.note else "", "dim"))
    return line((label, "bold" if process.trouble else "")).append_text(drawn).append_text(note)


def _cut(name: str) -> str:
    return name if len(name) <= _NAME else name[: _NAME - 1] + "~"


class Screen(Display):
    """Shows a screenful at a time; news are in the views."""

    interval = 0.5

    def __init__(self, live: Live) -> None:
        self._live = live

    async def show(self, view: View) -> None:
        """Draw the view over the one before, in the size that the terminal now has."""
        width, height = self._live.console.size
        lines = Group(*render(view, width, height))
        await trio.to_thread.run_sync(lambda: self._live.update(lines, refresh=True))

    async def show_news(self, news: Sequence[NewsItem]) -> None:
        """Show nothing: the next view has them."""


@asynccontextmanager
async def open_screen(out: TextIO) -> AsyncIterator[Screen]:
    """Use a terminal's alternate screen; the terminal is always restored at the end."""
    console = Console(file=out, force_terminal=True, highlight=False)
    live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    await trio.to_thread.run_sync(live.start)
    try:
        yield Screen(live)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(live.stop)
