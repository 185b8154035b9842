"""What `lrpmirror top` says, as styled text. Pure functions of what it shows."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from rich.text import Text

from lrpmirror.cli.shared.paint import SIGNS, line, phase_line
from lrpmirror.cli.shared.view import Kind
from lrpmirror.cli.top._board import FULL
from lrpmirror.core.freshness.status import Status
from lrpmirror.serve.page_model import SEVERITY
from lrpmirror.views import CellLoad, Health

HEALTHS: Final[Mapping[Health, str]] = {
    Health.DOWN: "bold red",
    Health.CRASHING: "red",
    Health.UNPLACEABLE: "bold magenta",
    Health.DEGRADED: "bold yellow",
    Health.UNDESIRED: "cyan",
    Health.HEALTHY: "green",
    Health.STOPPED: "dim",
}
"""How the word for each health is shown."""

_FILLING: Final = 0.8
"""The share of a cell's memory beyond which it stands out."""

_BAR: Final = 10
"""How many characters wide a whole cell's memory is."""


def phase(status: Status, url: str, reading: str) -> Text:
    """Say whether what is shown is the server's state."""
    return phase_line(status.phase, reading).append_text(line((f"  {url}", "dim")))


def freshness(status: Status) -> Text:
    """Say how long ago what was heard of the server."""
    parts = ["never heard"] if status.age is None else [f"heard {status.age:.1f} s ago"]
    if status.age is not None and status.silence is not None and status.silence > status.age + 1:
        # What was heard was the answer to a ping, or a list.
        parts.append(f"the stream {status.silence:.0f} s ago")
    if status.synced_at is None:
        parts.append("never listed")
    else:
        parts.append(f"listed {status.at - status.synced_at:.0f} s ago")
    parts.append(f"revision {status.revision:,}")
    over = status.last_error if status.trouble is None else None
    return line(", ".join(parts), (f"; overcome: {over}" if over is not None else "", "dim"))


def trouble(status: Status) -> Text | None:
    """Say what is wrong now, over two lines if it is long; None where nothing is."""
    if status.trouble is None:
        return None
    text = line((str(status.trouble), "red"))
    text.no_wrap = False
    return text


def amounts(cells: Counter[Any], processes: Counter[Any]) -> Text:
    """Count the cells, and the processes by health."""
    text = line(
        f"{cells['there']:,} cells",
        (f" and {cells['gone']:,} gone" if cells["gone"] else "", "bold magenta"),
        (f", {cells['full']:,} full" if cells["full"] else "", "red"),
        f"; {sum(processes[health] for health in SEVERITY):,} processes",
    )
    before = ": "
    for health in filter(processes.__getitem__, SEVERITY):
        text.append(before)
        text.append(f"{processes[health]:,} {health}", HEALTHS[health])
        before = ", "
    return text


def instances(processes: Counter[Any]) -> Text:
    """Count the instances by kind, which also shows what the signs in bars mean."""
    text = line(f"{sum(processes[one] for one in SIGNS):,} instances")
    for one, (character, style) in SIGNS.items():
        if processes[one]:
            text.append(f"  {character}", style)
            text.append(f" {processes[one]:,} {one.value}")
    return text


def memory(load: CellLoad, width: int) -> Text:
    """Say how much of a cell's memory is reserved, or that the cell is gone; drawn as well, where there is room."""
    if not load.present:
        return line((" GONE", "bold magenta"))
    share = load.memory_share
    if share is None:
        return line(("    -", "dim"))
    style = "bold red" if share > FULL else "yellow" if share > _FILLING else "green"
    drawn = f" {'━' * min(_BAR, round(share * _BAR))}" if width > _BAR else ""
    return line((f"{share:>5.0%}{drawn}", style))


def kind(of: Kind, state: str) -> Text:
    """Return the state of an instance, and what it counts as where that is something else, after its sign in bars."""
    sign, style = SIGNS[of]
    return line((f"{sign} {state}{'' if of.value == state else f', {of.value}'}", style))
