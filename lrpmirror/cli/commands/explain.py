"""Print a process's rows, and what became of its latest events, and why.

Open a mirror of the BBS, follow it for --seconds (Ctrl-C: no longer), then print
what there is of a process: its desired LRP, its rows, and for each of the latest
events about it what became of it, and why:
  applied     it was news
  same        it says what is known already
  stale       it is older than what is known
  tombstoned  its record is gone
  left        an instance left its row, and the row lives on
  doubted     it cannot be decided: the process is read again
  noted       it tells of no change of state
and what the mirror read beside the stream:
  repaired    a list had it otherwise, and was believed
  confirmed   it was in doubt and read again, and is as it was

On a terminal it is text, elsewhere (or with --json) one JSON object a line:
{"desired_lrp": …}, {"actual_lrp": …} or {"decision": {"seconds_ago", "type",
"index", "verdict", "tag", "stored", "why"}}: the version ("epoch:index") that an
event tells of, and the one that was at hand. Of the routes only those of the
HTTP, TCP and internal routers are printed, which hold no secrets.

The exit status is 1 where nothing is known of the process.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator

import msgspec
import trio
from msgspec.structs import replace

from lrpmirror.cli.shared.arguments import add_bbs, seconds
from lrpmirror.cli.shared.following import following, passing
from lrpmirror.cli.shared.output import LineWriter, printable, say, table
from lrpmirror.cli.shared.progress import Progress
from lrpmirror.cli.shared.signals import interruptible
from lrpmirror.cli.shared.story import decision_object, decision_row
from lrpmirror.core.explain.decisions import Decision
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.redaction import HARMLESS_ROUTERS
from lrpmirror.wire import json


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("process_guid", metavar="PROCESS_GUID", help="the process")
    parser.add_argument("--seconds", type=seconds, default=10.0, metavar="N", help="follow for N seconds (10)")
    parser.add_argument("--json", action="store_true", help="JSON on a terminal, too")
    add_bbs(parser)


async def run(args: argparse.Namespace) -> int:
    """Follow the BBS, then explain."""
    guid: str = args.process_guid
    async with following(args) as (mirror, _):
        progress = Progress(passing(args.seconds, lambda: f"{len(mirror.explain(guid))} decisions about it"))
        async with interruptible() as asked, progress.shown():
            with trio.move_on_after(args.seconds):
                await asked.wait()
        desired = mirror.desired_lrp(guid)
        if desired is not None:
            routes = {name: desired.routes[name] for name in HARMLESS_ROUTERS if name in desired.routes}
            desired = replace(desired, routes=routes)
        rows, decisions, now = mirror.actual_lrps(guid), mirror.explain(guid), mirror.status.at
    if sys.stdout.isatty() and not args.json:
        lines = [line.encode() for line in _lines(desired, rows, decisions, now)]
    else:
        objects = [{"desired_lrp": json.to_json(desired)}] if desired is not None else []
        objects += [{"actual_lrp": json.to_json(row)} for row in rows]
        objects += [{"decision": decision_object(decision, now)} for decision in decisions]
        lines = [msgspec.json.encode(one) for one in objects]
    await LineWriter().write(lines)
    if desired is None and not rows and not decisions:
        say(f"lrpmirror explain: nothing is known of a process {guid}")
        return 1
    return 0


def _lines(
    lrp: DesiredLRP | None, rows: Iterable[ActualLRP], decisions: Iterable[Decision], now: float
) -> Iterator[str]:
    if lrp is None:
        yield "It is not desired."
    else:
        yield printable(
            f"Desired: {lrp.instances} instances of {lrp.memory_mb} MB in the domain {lrp.domain}, "
            f"routes for {', '.join(lrp.routes) or 'no router'}, version {lrp.epoch}:{lrp.tag_index}"
        )
    yield ""
    heads: tuple[str, ...] = ("INDEX", "PRESENCE", "STATE", "CELL", "INSTANCE", "CRASHES", "ERROR", "VERSION")
    yield from list(table(heads, map(_row, rows))) or ["It has no rows."]
    yield ""
    heads = ("WHEN", "EVENT", "INDEX", "VERDICT", "WHY")
    yield from list(table(heads, [decision_row(one, now) for one in decisions])) or ["No event about it came."]


def _row(row: ActualLRP) -> tuple[str, ...]:
    return (
        str(row.index),
        row.presence.name.lower(),
        row.state.value,
        row.cell_id,
        row.instance_guid,
        str(row.crash_count or ""),
        row.placement_error or row.crash_reason,
        f"{row.epoch}:{row.tag_index}",
    )
