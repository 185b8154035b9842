"""A snapshot as a screenful of lines. Pure functions."""

from collections.abc import Sequence
from itertools import chain
from textwrap import wrap
from typing import Final

from lrpmirror.cli._paint import BOLD, DIM, PHASES, SIGNS, Span, Style, bar, clock, columns, cut, painted, sparkline
from lrpmirror.cli._top_snapshot import (
    FULL,
    CellLine,
    InstanceLine,
    Line,
    NewsLine,
    ProcessLine,
    Snapshot,
    Window,
    head_of,
)
from lrpmirror.cli._top_state import PageKind, State
from lrpmirror.core.status import Phase
from lrpmirror.serve.picture import SEVERITY
from lrpmirror.serve.pulse import Second
from lrpmirror.views import Health

__all__ = ["HELP_LINES", "frame"]

HEALTHS: Final = {
    Health.DOWN: "31;1",
    Health.CRASHING: "31",
    Health.UNPLACEABLE: "35;1",
    Health.DEGRADED: "33;1",
    Health.UNDESIRED: "36",
    Health.HEALTHY: "32",
    Health.STOPPED: DIM,
}
"""How the word for each health is shown."""

HELP_LINES: Final = (
    "Keys",
    "  Up Down k j          one line; what is selected stays selected where it moves",
    "  PgUp PgDn Space      one screen",
    "  Home End g G         to the first, to the last",
    "  Tab Shift-Tab 1 2 3  cells, processes, changes",
    "  Enter Right l        open: a cell's instances; the process of a line",
    "  Esc Backspace Left h back; or no filter any more",
    "  s S                  sort by the next, by the one before",
    "  /                    show only what has a text in it; Ctrl-U empties it",
    "  q Ctrl-C             quit",
    "",
    "Health of processes, the worst first",
    "  down        no instance runs",
    "  crashing    an instance has crashed and waits for its restart",
    "  unplaceable an instance could not be placed on any cell",
    "  degraded    some instances run, and some do not yet",
    "  undesired   there are instances and no desired LRP",
    "",
    "Of cells: the share of the memory that is reserved, and how many instances.",
    "Rates are those of the last ten seconds, beside them the last five minutes.",
)

_FILLING: Final = 0.8
"""The share of a cell's memory beyond which it stands out."""

_RATED: Final = 10
"""Over how many seconds a rate is taken."""

_SPAN: Final = 5
"""How many columns it takes to tell of how long a time a line of rates is."""

_LEAST: Final = 4
"""With fewer columns there is no line of rates."""

_NARROW: Final = 60
"""Below this width lines have only what is most needed."""


def frame(snapshot: Snapshot, state: State, style: Style) -> list[str]:
    """Return at most `height` lines of at most `width` columns: how fresh it is, the lists, and what keys do."""
    if state.help:
        lines = [[(line, BOLD if line and not line.startswith(" ") else "")] for line in HELP_LINES]
        body: list[list[Span]] = [*_head(snapshot, style)[:1], *lines][: max(1, style.height - 1)]
    else:
        body = _head(snapshot, style)
        for window in snapshot.windows:
            body += _window(window, state, snapshot, style)
    # The last line is for the keys, also of a screen that is too low for anything else.
    body = body[: max(0, style.height - 1)]
    body += [[] for _ in range(style.height - 1 - len(body))]
    return [painted(line, style) for line in [*body, _foot(state)]]


# The head


def _head(snapshot: Snapshot, style: Style) -> list[list[Span]]:
    if head_of(style.height) == 2:  # noqa: PLR2004 - which of two heads it is
        return [_phase(snapshot, style), _rate_line(snapshot.rates, style)]
    lines = [
        _phase(snapshot, style),
        _freshness(snapshot),
        _amounts(snapshot),
        _instances(snapshot),
        _rate_line(snapshot.rates, style),
    ]
    # What is wrong matters more than rates that are those of nothing, and is told in full where two lines do.
    wrong = [] if snapshot.error_over else wrap(snapshot.error, max(1, style.width), max_lines=2, placeholder=" ~")
    return [*lines[: len(lines) - len(wrong)], *([(line, "31")] for line in wrong)]


def _phase(snapshot: Snapshot, style: Style) -> list[Span]:
    sgr, meaning = PHASES[snapshot.phase]
    if snapshot.reading:
        meaning = snapshot.reading
    elif style.height < 16 and snapshot.error and not snapshot.error_over:  # noqa: PLR2004 - the head without errors
        meaning = snapshot.error
    return [(f" {snapshot.phase.name} ", f"{sgr};7"), (f"  {meaning}", ""), (f"  {snapshot.url}", DIM)]


def _freshness(snapshot: Snapshot) -> list[Span]:
    said = ["never heard"] if snapshot.age is None else [f"heard {snapshot.age:.1f} s ago"]
    if snapshot.age is not None and snapshot.silence is not None and snapshot.silence > snapshot.age + 1:
        # What was heard was the answer to a ping, or a list.
        said.append(f"the stream {snapshot.silence:.0f} s ago")
    said += ["never listed"] if snapshot.listed is None else [f"listed {snapshot.listed:.0f} s ago"]
    said.append(f"revision {snapshot.revision:,}")
    spans = [(", ".join(said), "")]
    if snapshot.error and snapshot.error_over:
        spans.append((f"; overcome: {snapshot.error}", DIM))
    return spans


def _amounts(snapshot: Snapshot) -> list[Span]:
    gone = f" and {snapshot.cells_gone} gone" if snapshot.cells_gone else ""
    total = sum(snapshot.healths.values())
    full = f", {snapshot.cells_full:,} full" if snapshot.cells_full else ""
    spans: list[Span] = [
        (f"{snapshot.cells:,} cells", ""),
        (gone, "35;1"),
        (full, "31"),
        (f"; {total:,} processes", ""),
    ]
    before = ": "
    for health in SEVERITY:
        if snapshot.healths.get(health):
            spans += [(before, ""), (f"{snapshot.healths[health]:,} {health}", HEALTHS[health])]
            before = ", "
    return spans


def _instances(snapshot: Snapshot) -> list[Span]:
    """Count the instances by kind, which also tells what the signs in bars mean."""
    spans: list[Span] = [(f"{sum(snapshot.kinds.values()):,} instances", "")]
    for kind, (sign, sgr) in SIGNS.items():
        if snapshot.kinds.get(kind):
            spans += [(f"  {sign}", sgr), (f" {snapshot.kinds[kind]:,} {kind.value}", "")]
    return spans


def _rate_line(rates: Sequence[Second], style: Style) -> list[Span]:
    spans: list[Span] = []
    named = (
        ("events", [one.events for one in rates], "36"),
        ("changes", [one.changes for one in rates], "32"),
        ("crashes", [one.crashes for one in rates], "31"),
    )
    share = (style.width - _SPAN) // len(named)
    for name, counts, sgr in named:
        latest = counts[-_RATED:]
        rate = sum(latest) / len(latest) if latest else 0.0
        # A rate that is low is told with a digit more.
        text = f"{name} {rate:,.0f}/s " if rate >= 100 else f"{name} {rate:.1f}/s "  # noqa: PLR2004
        each = _seconds_each(len(counts), share - len(text) - 1)
        line = sparkline(_gathered(counts, each), style) if each else ""
        spans += [(text, BOLD), (line, sgr), (" " * (share - len(text) - len(line)), "")]
    return [*spans, (clock(len(rates)), DIM)]


def _seconds_each(seconds: int, width: int) -> int:
    """Return how many seconds a character stands for, so that all have room; 0 where there is none."""
    return 0 if width < _LEAST else max(1, -(-seconds // width))


def _gathered(counts: Sequence[int], each: int) -> list[float]:
    """Return the means over so many seconds each, the latest last; the oldest can be over fewer."""
    ends = range(len(counts), 0, -each)
    pieces = [counts[max(0, end - each) : end] for end in ends]
    return [sum(piece) / len(piece) for piece in reversed(pieces)]


# The lists


def _window(window: Window, state: State, snapshot: Snapshot, style: Style) -> list[list[Span]]:
    page = window.page
    focused = page.kind is state.page.kind
    lines = [_title(window, state, focused=focused)]
    high, wide = page.room // window.columns, style.width // window.columns
    if not window.lines:
        return [*lines, [("  " + _nothing(window, snapshot), DIM)], *([] for _ in range(high - 1))]
    drawn = [
        _entry(line, window, wide, at_cursor=focused and page.top + place == page.cursor)
        for place, line in enumerate(window.lines)
    ]
    for row in range(high):
        beside = drawn[row::high]
        lines.append([span for entry in beside[:-1] for span in _filled(entry, wide)] + [*chain(*beside[-1:])])
    return lines


def _entry(line: Line, window: Window, width: int, *, at_cursor: bool) -> list[Span]:
    if isinstance(line, str):
        return [("  ", ""), (line, BOLD if line.isupper() or line.startswith("LATEST") else "")]
    spans = _line(line, window, width - 2)
    if not at_cursor:
        return [("  ", ""), *spans]
    # It is marked also where there are no colours.
    return [("> ", BOLD), (spans[0][0], f"{BOLD};7"), *spans[1:]]


def _filled(spans: Sequence[Span], width: int) -> list[Span]:
    """Return a line that is filled up to where the next column begins."""
    return [*spans, (" " * (width - sum(columns(text) for text, _ in spans)), "")]


def _title(window: Window, state: State, *, focused: bool) -> list[Span]:
    page = window.page
    if state.opened:
        tabs: list[Span] = [(f" {page.kind.name} ", f"{BOLD};7"), (f" {window.title}", BOLD)]
    else:
        name = "CELLS" if page.kind is PageKind.CELLS else page.kind.name
        tabs = [(f" {name} ", f"{BOLD};7" if focused else BOLD)]
    said = f" {page.count:,}"
    if page.count > page.room:
        said = f" {page.top + 1:,}-{min(page.count, page.top + page.room):,} of {page.count:,}"
    order = f", by {page.ordered_by}" if page.kind not in (PageKind.PROCESS, PageKind.CHANGES) else ""
    tabs.append((f"{said}{order}", DIM))
    if page.text:
        tabs.append((f", with {page.text!r}", "33;1"))
        tabs.append((f" (of {window.total:,})", DIM))
    tabs.append((f"; {window.more}" if window.more else "", ""))
    return tabs


def _nothing(window: Window, snapshot: Snapshot) -> str:
    if window.page.text and window.total:
        return f"nothing has {window.page.text!r} in it"
    if snapshot.phase in (Phase.CONNECTING, Phase.SYNCING):
        return "not known yet"
    return {
        PageKind.CELLS: "there are no cells",
        PageKind.PROCESSES: "there are no processes",
        PageKind.CHANGES: "nothing has changed yet",
        PageKind.CELL: "nothing is on this cell",
        PageKind.PROCESS: "nothing is known of this process",
    }[window.page.kind]


def _line(line: CellLine | ProcessLine | InstanceLine | NewsLine, window: Window, width: int) -> list[Span]:
    match line:
        case CellLine():
            return _cell(line, window, width)
        case ProcessLine():
            return _process(line, window, width)
        case InstanceLine():
            return _instance(line, window, width)
        case NewsLine():
            return [(line.time, DIM), (f"  {line.text}", "")]


def _cell(cell: CellLine, window: Window, width: int) -> list[Span]:
    narrow = width < _NARROW
    name = _column([line.cell_id for line in window.lines if isinstance(line, CellLine)], cell.cell_id, width)
    total = sum(cell.kinds.values())
    zone = "" if narrow else f" {cut(cell.zone or '-', 6):<6}"
    share = cell.memory_share
    sgr = "" if share is None else "31;1" if share > FULL else "33" if share > _FILLING else "32"
    if not cell.present:
        memory: list[Span] = [("  GONE" if narrow else "  GONE             ", "35;1")]
    elif share is None:
        memory = [("     -" if narrow else "     -            ", DIM)]
    else:
        filled = "=" * max(0, min(10, round(share * 10)))
        memory = [(f" {share:>5.0%}", sgr), *([] if narrow else [(f" [{filled:<10}]", sgr)])]
    label = f"{name}{zone}"
    rest = f" {total:>5} "
    room = width - columns(label) - sum(columns(text) for text, _ in memory) - len(rest)
    return [(label, "" if cell.present else "35"), *memory, (rest, ""), *bar(cell.kinds, room, window.longest)]


def _process(process: ProcessLine, window: Window, width: int) -> list[Span]:
    narrow = width < _NARROW
    name = _column([line.name for line in window.lines if isinstance(line, ProcessLine)], process.name, width)
    wanted = "-" if process.health is Health.UNDESIRED else str(process.desired)
    counts = f" {f'{process.running}/{wanted}':>7} "
    spans: list[Span] = [(name, ""), (f" {process.health.value:<11}", HEALTHS[process.health]), (counts, "")]
    if not narrow:
        # Bars are as wide as the longest, and leave room for the reason.
        room = min(window.longest, max(0, width - sum(columns(text) for text, _ in spans)) // 3)
        drawn = bar(process.kinds, room, window.longest)
        spans += [*drawn, (" " * (room - sum(len(text) for text, _ in drawn)), "")]
    return [*spans, (f"  {process.why}" if process.why else "", DIM)]


def _instance(line: InstanceLine, window: Window, width: int) -> list[Span]:
    name = _column([one.name for one in window.lines if isinstance(one, InstanceLine)], line.name, width)
    sign, sgr = SIGNS[line.kind]
    kind = "" if line.kind.value == line.state else f" {line.kind.value}"
    return [
        (name, ""),
        (f" {sign} ", sgr),
        (f"{line.state}{kind:<12}", sgr),
        (f" {line.age:>7}", ""),
        (f"  {line.notes}", DIM),
    ]


def _column(texts: Sequence[str], text: str, width: int) -> str:
    """Return a text as wide as the widest of a column, which is at most a third of the line."""
    wide = min(max(8, width // (2 if width < _NARROW else 3)), max(map(len, texts), default=8))
    return f"{cut(text, wide):<{wide}}"


def _foot(state: State) -> list[Span]:
    if state.typing is not None:
        return [("/", BOLD), (state.page.text, ""), (" ", "7"), ("  Enter keeps it, Esc takes it back", DIM)]
    if state.help:
        return [("any key", BOLD), (" goes on", DIM)]
    keys = [("q", "quit"), ("?", "help")]
    if state.opened:
        keys.append(("Esc", "back"))
    else:
        keys.append(("Tab", "next list"))
    if state.page.kind is not PageKind.PROCESS:
        keys += [("Enter", "open"), ("/", "filter")]
        keys += [] if state.page.kind is PageKind.CHANGES else [("s", "sort")]
    spans: list[Span] = []
    for key, does in keys:
        spans += [(key, BOLD), (f" {does}  ", DIM)]
    return spans
