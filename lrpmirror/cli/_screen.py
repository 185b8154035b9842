"""A view of a mirror as lines of text: a screenful, or one line. Pure functions."""

from collections.abc import Sequence
from typing import Final

from lrpmirror.cli._paint import BOLD, DIM, PHASES, Span, Style, bar, clean, clock, cut, legend, painted
from lrpmirror.cli._view import CellView, Kind, News, ProcessView, View

__all__ = ["Style", "render", "status_line"]

_NAME: Final = 16
_COUNT: Final = 7


def render(view: View, style: Style) -> list[str]:
    """Return the view as at most `height` lines of at most `width` columns.

    The freshness comes first, then the cells, the processes and the news, each with as many lines as there is room.
    """
    lines = [*_head(view), *_body(view, style)]
    return [painted(line, style) for line in lines[: style.height]]


def status_line(view: View) -> str:
    """Return the view as one line without colours."""
    age = "" if view.age is None else f", last heard {view.age:.1f} s ago"
    return clean(
        f"{view.elapsed:6.1f} s  {view.phase.name:<10} revision {view.revision}{age}; {_amounts(view)}; "
        f"{view.desired} desired, {_present(view)} cells"
    )


def _head(view: View) -> list[list[Span]]:
    style, meaning = PHASES[view.phase]
    ages = [] if view.age is None else [f"the server was last heard {view.age:.1f} s ago"]
    ages += [] if view.listed is None else [f"the last lists are {view.listed:.0f} s old"]
    return [
        [(f" {view.phase.name} ", f"{style};7"), (f"  {meaning}", "")],
        [(f"{view.title}, {clock(view.elapsed)}, revision {view.revision}; Ctrl-C ends it", DIM)],
        [(", ".join(ages) or "the server was not heard yet", DIM)],
        *([[(view.error, "31")]] if view.error else []),
        [(f"{_amounts(view)}; {view.desired} desired, domains: {', '.join(view.domains) or 'none'}", "")],
        legend(),
    ]


def _body(view: View, style: Style) -> list[list[Span]]:
    """Share what is left of the screen: a third for the cells at most, half of the rest for the processes at most."""
    room = max(0, style.height - len(_head(view)))
    cells = _section("CELLS", [_cell(cell, style.width) for cell in view.cells], room // 3)
    room -= len(cells)
    processes = _section("PROCESSES, trouble first", [_process(one, style.width) for one in view.processes], room // 2)
    news = _section("NEWS", [_news(one) for one in view.news], room - len(processes))
    return [*cells, *processes, *news]


def _section(title: str, lines: Sequence[list[Span]], room: int) -> list[list[Span]]:
    """Return a heading with as many of the lines as fit; the heading says how many do not."""
    shown = max(0, min(len(lines), room - 2))
    if not shown:
        return []
    hidden = f"  ({len(lines) - shown} more)" if shown < len(lines) else ""
    return [[], [(title, BOLD), (hidden, DIM)], *lines[:shown]]


def _cell(cell: CellView, width: int) -> list[Span]:
    name = cell.cell_id or "on no cell"
    mark = "" if cell.there else " gone"
    total = sum(cell.kinds.values())
    label = f"{cut(name, _NAME):<{_NAME}} {cell.zone or '-':<4}{total:>4} "
    return [(label, "" if cell.there else "35"), *bar(cell.kinds, width - len(label) - len(mark)), (mark, "35")]


def _process(process: ProcessView, width: int) -> list[Span]:
    running = process.kinds.get(Kind.RUNNING, 0)
    wanted = "-" if process.wanted is None else str(process.wanted)
    label = f"{cut(process.name, _NAME):<{_NAME}} {f'{running}/{wanted}':>{_COUNT}} "
    drawn = bar(process.kinds, max(0, width - len(label)) // 2)
    note = f"  {process.note}" if process.note else ""
    return [(label, BOLD if process.trouble else ""), *drawn, (note, DIM)]


def _news(news: News) -> list[Span]:
    return [(f"{clock(news.at)}  ", DIM), (news.text, "")]


def _amounts(view: View) -> str:
    counted = ", ".join(f"{view.kinds[kind]} {kind.value}" for kind in Kind if view.kinds.get(kind))
    return f"{sum(view.kinds.values())} instances{': ' if counted else ''}{counted}"


def _present(view: View) -> int:
    return sum(cell.there for cell in view.cells if cell.cell_id)
