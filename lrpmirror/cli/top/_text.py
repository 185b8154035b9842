"""What `lrpmirror top` says, as text. Pure functions of what it shows."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from textwrap import wrap
from typing import Any, Final

from msgspec import Struct
from rich.text import Text

from lrpmirror.cli.shared.output import printable, table
from lrpmirror.cli.shared.screen import SIGNS, line, phase_line
from lrpmirror.cli.shared.story import decision_row
from lrpmirror.cli.shared.view import Kind
from lrpmirror.core.derived.views.definitions import http_routes, internal_routes, tcp_routes
from lrpmirror.core.explain.decisions import Decision
from lrpmirror.core.freshness.status import Status
from lrpmirror.model import ActualLRP, DesiredLRP, Presence
from lrpmirror.serve.page_model import SEVERITY, detail_of
from lrpmirror.views import CellLoad, Health, ProcessHealth

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

FULL: Final = 0.95  # the share of a cell's memory beyond which it is called full
_FILLING: Final = 0.8  # the share of a cell's memory beyond which it stands out
_BAR: Final = 10  # how many characters wide a whole cell's memory is


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


_LEAST: Final = 20  # the least width that lines are broken for
_WIDE: Final = 150  # from this width on guids are whole

_GUID: Final = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")

_NANO: Final = 1_000_000_000


class ProcessDetail(Struct, frozen=True, kw_only=True):
    """The detail of a process at one moment."""

    process_guid: str
    desired: DesiredLRP | None
    health: ProcessHealth | None
    rows: tuple[ActualLRP, ...]
    decisions: tuple[Decision, ...]
    now: float  # by the mirror's clock, in seconds
    wall: int  # nanoseconds since 1970


def process_lines(of: ProcessDetail, width: int) -> Iterator[str]:
    """Return what is desired, health, rows, routes and decisions, wrapped to a width; narrow ones with guids cut."""
    for text in _lines(of, (lambda text: text) if width >= _WIDE else _shortened):
        yield from wrap(text, max(_LEAST, width), subsequent_indent="      ", break_on_hyphens=False) or [""]


def _lines(of: ProcessDetail, shown_guid: Callable[[str], str]) -> Iterator[str]:
    yield printable(of.process_guid)
    if of.desired is None:
        yield "It is not desired."
    else:
        lrp = of.desired
        yield printable(
            f"Desired: {lrp.instances} x {lrp.memory_mb} MB memory, {lrp.disk_mb} MB disk; domain {lrp.domain}; "
            f"version {shown_guid(lrp.epoch)}:{lrp.tag_index}"
        )
    if of.health is not None:
        detail = detail_of(of.health)
        yield printable(f"Health: {of.health.health.value}{'; ' if detail else ''}{detail}")
    yield ""
    columns = ("INDEX", "STATE", "PRESENCE", "FOR", "CELL", "ADDRESS", "CRASHES", "INSTANCE", "VERSION", "NOTES")
    rows = table(columns, [_row(row, of.wall, shown_guid) for row in of.rows])
    yield from _titled("ROWS", rows, "It has no rows.")
    yield ""
    yield from _titled("ROUTES", [] if of.desired is None else _routes(of.desired), "It has no routes.")
    yield ""
    heads = ("WHEN", "EVENT", "INDEX", "VERDICT", "WHY")
    decisions = [_decision(decision, of.now, shown_guid) for decision in reversed(of.decisions)]
    yield from _titled("LATEST DECISIONS, the newest first", table(heads, decisions), "No event about it came yet.")


def duration(nanoseconds: int) -> str:
    """Return a duration in its two largest units, or less."""
    seconds = max(0, nanoseconds // _NANO)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days}d{hours % 24}h"
    if hours:
        return f"{hours}h{minutes % 60}m"
    return f"{minutes}m{seconds % 60}s" if minutes else f"{seconds}s"


def _shortened(text: str) -> str:
    """Return a text with the first digits of guids only, which tell those of one process from each other."""
    return _GUID.sub(r"\1", text)


def _titled(title: str, lines: Iterable[str], otherwise: str) -> Iterator[str]:
    yield title
    yield from [f"  {text}" for text in lines] or [f"  {otherwise}"]


def _row(row: ActualLRP, wall: int, shown_guid: Callable[[str], str]) -> tuple[str, ...]:
    ports = ",".join(str(port.host_port or port.host_tls_proxy_port) for port in row.ports)
    notes = ["not routable"] if row.routable is False else []
    return (
        str(row.index),
        row.state.value,
        "" if row.presence is Presence.ORDINARY else row.presence.name.lower(),
        duration(wall - row.since) if row.since else "",
        row.cell_id,
        f"{row.address}:{ports}" if row.address else "",
        str(row.crash_count or ""),
        shown_guid(row.instance_guid),
        f"{shown_guid(row.epoch)}:{row.tag_index}",
        "; ".join([*notes, *filter(None, (row.placement_error, row.crash_reason))]),
    )


def _decision(decision: Decision, now: float, shown_guid: Callable[[str], str]) -> tuple[str, ...]:
    when, event, index, outcome, why = decision_row(decision, now)
    return when, event.removeprefix("actual_lrp_"), index, outcome, shown_guid(why)


def _routes(lrp: DesiredLRP) -> list[str]:
    lines = [
        f"{hostname} to port {route.port}{f' ({route.protocol})' if route.protocol else ''}"
        for route in http_routes(lrp.routes)
        for hostname in route.hostnames
    ]
    lines += [
        f"port {route.external_port} of {route.router_group_guid} to port {route.container_port} (TCP)"
        for route in tcp_routes(lrp.routes)
    ]
    lines += [f"{route.hostname} (internal)" for route in internal_routes(lrp.routes)]
    return [printable(text) for text in lines]
