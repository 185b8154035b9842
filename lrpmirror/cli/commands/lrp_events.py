"""Print the events of desired and actual LRPs as they happen, until Ctrl-C.

One JSON object a line, {"type": …, "data": {…}}, in the shape that Diego's own
tool prints; those of desired LRPs are whole, environment and credentials
included.

Both of the BBS's streams are printed, merged as they arrive: that of instances,
and the events of groups (actual_lrp_created, _changed, _removed) of the older,
deprecated one. What both tell is printed once.

There is no reconnecting: after the BBS has closed a stream, as it does to a
reader that falls 1024 events behind, events are missing. This is an error, and
says so. --watch of the other commands goes on and brings what was missed.
"""

import argparse
from collections.abc import AsyncIterator
from typing import Final

import trio

from lrpmirror.cli.shared.arguments import add_bbs, target
from lrpmirror.cli.shared.output import LineWriter
from lrpmirror.cli.shared.signals import until_interrupted
from lrpmirror.errors import BBSError, UnknownPath, WireError
from lrpmirror.events import ActualLRPChanged, ActualLRPCreated, ActualLRPRemoved, Event, UnreadableEvent
from lrpmirror.relay import client_at
from lrpmirror.wire import json

_REST: Final = 0.5  # seconds that the other stream has, when one has ended, to bring what was already on its way

_GROUP_EVENTS: Final = {kind.type for kind in (ActualLRPChanged, ActualLRPCreated, ActualLRPRemoved)}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("-c", "--cell-id", default="", metavar="ID", help="only those on this cell")
    parser.add_argument(
        "-x",
        "--exclude-actual-lrp-groups",
        action="store_true",
        help="leave out the deprecated events of groups, and do not ask for their stream",
    )
    add_bbs(parser)


async def run(args: argparse.Namespace) -> None:
    """Print events until interrupted."""
    where = target(args)
    async with until_interrupted(), client_at(where.url, tls=where.tls) as client:
        out, cell_id = LineWriter(), args.cell_id
        async with client.events("instances", cell_id, full=True) as instances:
            if args.exclude_actual_lrp_groups:
                await _forward(instances, out, groups_only=False)
                return
            try:
                async with client.events("groups", cell_id, full=True) as groups:
                    await _merge(instances, groups, out)
            except UnknownPath as exc:
                raise UnknownPath(f"{exc}; it has no events of groups: give --exclude-actual-lrp-groups") from exc


async def _merge(instances: AsyncIterator[list[Event]], groups: AsyncIterator[list[Event]], out: LineWriter) -> None:
    """Print both streams until one of them ends, and what the other one has brought by then."""
    ends: list[BBSError | WireError] = []
    async with trio.open_nursery() as nursery:

        async def forward(stream: AsyncIterator[list[Event]], *, groups_only: bool) -> None:
            try:
                await _forward(stream, out, groups_only=groups_only)
            except (BBSError, WireError) as error:
                ends.append(error)
                nursery.cancel_scope.deadline = trio.current_time() + _REST

        nursery.start_soon(lambda: forward(instances, groups_only=False))
        nursery.start_soon(lambda: forward(groups, groups_only=True))
    raise ends[0]


async def _forward(stream: AsyncIterator[list[Event]], out: LineWriter, *, groups_only: bool) -> None:
    async for events in stream:
        await out.write(json.dumps(event) for event in events if not groups_only or _is_of_groups(event))


def _is_of_groups(event: Event) -> bool:
    return (event.name if isinstance(event, UnreadableEvent) else event.type) in _GROUP_EVENTS
