"""The commands that query a BBS as Diego's own tool does, with its filters and its output: one JSON value a line."""

import argparse
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Literal

import trio
from msgspec import Struct

from lrpmirror.cli.shared import bbs
from lrpmirror.cli.shared.command import Command
from lrpmirror.cli.shared.following import Following, following, tell_phases, until_interrupted
from lrpmirror.cli.shared.lines import LineWriter
from lrpmirror.cli.shared.output import say
from lrpmirror.cli.shared.query_arguments import (
    by_app,
    by_cell,
    by_domain,
    by_index,
    by_process,
    by_processes,
    desired_wanted,
    group_filters,
    one_process,
    row_wanted,
    rows_of_groups_wanted,
)
from lrpmirror.cli.shared.waiting import Waiting
from lrpmirror.cli.shared.watch import DesiredOf, GroupsOf, RowsOf, poll, watch
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.relay import Client, client_at
from lrpmirror.wire import json

Args = argparse.Namespace
Tell = Callable[[Iterable[object]], Awaitable[None]]

_OUTPUT: Final = """\
One JSON value a line, as they arrive, in the shape that Diego's own tool
prints."""

_WATCH: Final = """\
With --watch the answer is kept up to date until Ctrl-C: first all of it, then a
line for each change:
  {"change": "added" | "changed" | "removed", "before": …, "after": …}
where one side is null for what was added or removed."""

_MIRRORED: Final = """\
The state is followed by a mirror; "revision" is its own and "cause" is event
(the BBS said so), snapshot or repair (a list differed). stderr says when the
mirror loses touch with the BBS, and when it has caught up."""

_POLLED: Final = """\
The BBS sends no events about them, so they are asked for every two seconds."""


class Query(Struct, frozen=True, kw_only=True):
    """One of the commands."""

    name: str
    HELP: str
    about: str
    arguments: Callable[[argparse.ArgumentParser], None]
    ask: Callable[[Client, Args, Tell], Awaitable[None]]
    """Asks the BBS, and prints the records as they arrive."""
    detail: Literal["routing", "full"] = "routing"
    follow: Callable[[Following, Args, LineWriter], Awaitable[None]] | None = None
    """Prints the answer and its changes for ever, from a mirror."""
    polled: Callable[[Client, LineWriter, Callable[[str], None]], Awaitable[None]] | None = None
    """The same, without a mirror."""

    @property
    def DESCRIPTION(self) -> str:  # noqa: N802 - as the constants of modules are named
        """The description for --help."""
        parts = [self.about, _OUTPUT]
        if self.follow is not None:
            parts.append(f"{_WATCH}\n{_MIRRORED}")
        elif self.polled is not None:
            parts.append(f"{_WATCH}\n{_POLLED}")
        return "\n\n".join(parts) + "\n"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""
        self.arguments(parser)
        if self.follow is not None or self.polled is not None:
            parser.add_argument("--watch", action="store_true", help="go on printing changes until Ctrl-C")
        bbs.add_options(parser)

    def run(self, args: Args) -> int:
        """Ask, and print."""
        if not getattr(args, "watch", False):
            trio.run(self._once, args)
        elif self.follow is not None:
            trio.run(self._followed, args)
        else:
            trio.run(self._polled, args)
        return 0

    async def _once(self, args: Args) -> None:
        where = bbs.target(args)
        out, waiting = LineWriter(), Waiting("listing")

        async def tell(values: Iterable[object]) -> None:
            lines = [json.dumps(value) for value in values]
            waiting.took(len(lines))
            waiting.printing()
            await out.write(lines)

        async with client_at(where.url, tls=where.tls, tap=waiting.tap) as client, waiting.shown():
            await self.ask(client, args, tell)

    async def _followed(self, args: Args) -> None:
        async with until_interrupted(), following(args, detail=self.detail) as at, trio.open_nursery() as nursery:
            nursery.start_soon(tell_phases, at.mirror, f"lrpmirror {self.name}")
            if self.follow is not None:
                await self.follow(at, args, LineWriter())

    async def _polled(self, args: Args) -> None:
        polled, where = self.polled, bbs.target(args)

        def note(text: str) -> None:
            say(f"lrpmirror {self.name}: note: {text}")

        async with until_interrupted(), client_at(where.url, tls=where.tls) as client:
            if polled is not None:
                await polled(client, LineWriter(), note)


async def _list(client: Client, tell: Tell, name: Any, **filters: Any) -> None:
    async with client.stream_list(name, **filters) as batches:
        async for batch in batches:
            await tell(batch)


# Actual LRPs


def _row_arguments(parser: argparse.ArgumentParser) -> None:
    by_domain(parser)
    by_cell(parser)
    by_process(parser)
    by_index(parser)


async def _actual_lrps(client: Client, args: Args, tell: Tell) -> None:
    filters = {"domain": args.domain, "cell_id": args.cell_id, "process_guid": args.process_guid, "index": args.index}
    await _list(client, tell, "actual_lrps", **filters)


async def _follow_actual_lrps(at: Following, args: Args, out: LineWriter) -> None:
    def show(_: object, row: ActualLRP) -> object:
        return json.to_json(row)

    await watch(at.mirror, RowsOf(row_wanted(args)), out, first=_by(_place), show=show)


def _place(row: ActualLRP) -> tuple[str, int, int]:
    return row.process_guid, row.index, row.presence


# Groups


async def _groups(client: Client, args: Args, tell: Tell) -> None:
    filters = group_filters(args)
    if not args.process_guid:
        await _list(client, tell, "actual_lrp_groups", **filters)
    elif args.index is None:
        await tell(await client.actual_lrp_groups_by_process_guid(args.process_guid))
    else:
        await tell([await client.actual_lrp_group_by_process_guid_and_index(args.process_guid, args.index)])


async def _follow_groups(at: Following, args: Args, out: LineWriter) -> None:
    def show(_: object, group: ActualLRPGroup) -> object:
        return json.to_json(group)

    view = GroupsOf(rows_of_groups_wanted(args))
    await watch(at.mirror, view, out, first=_by(lambda group: _place(group.resolve())), show=show)


# Desired LRPs


def _desired_arguments(parser: argparse.ArgumentParser) -> None:
    by_domain(parser)
    by_processes(parser)
    by_app(parser)


def _desired_filters(args: Args) -> dict[str, Any]:
    return {"domain": args.domain, "process_guids": args.process_guid, "app_guids": args.app_guid}


async def _desired_lrps(client: Client, args: Args, tell: Tell) -> None:
    await _list(client, tell, "desired_lrps", full=True, **_desired_filters(args))


async def _scheduling_infos(client: Client, args: Args, tell: Tell) -> None:
    await _list(client, tell, "scheduling_infos", **_desired_filters(args))


async def _desired_lrp(client: Client, args: Args, tell: Tell) -> None:
    await tell([await client.desired_lrp(args.process_guid, full=True)])


async def _follow_desired(at: Following, args: Args, out: LineWriter) -> None:
    def show(_: object, lrp: DesiredLRP) -> object:
        return json.to_json(lrp)

    await watch(at.mirror, DesiredOf(desired_wanted(args)), out, first=_by(lambda lrp: lrp.process_guid), show=show)


# Domains and cells


def _no_arguments(_: argparse.ArgumentParser) -> None:
    return


async def _domains(client: Client, _: Args, tell: Tell) -> None:
    await tell(await client.domains())


async def _cells(client: Client, _: Args, tell: Tell) -> None:
    await tell(await client.cells())


async def _poll_domains(client: Client, out: LineWriter, note: Callable[[str], None]) -> None:
    await poll(client.domains, str, out, json.to_json, note)


async def _poll_cells(client: Client, out: LineWriter, note: Callable[[str], None]) -> None:
    def key(cell: CellPresence) -> str:
        return cell.cell_id

    await poll(client.cells, key, out, json.to_json, note)


def _by(order: Callable[[Any], Any]) -> Callable[[Mapping[Any, Any]], list[bytes]]:
    """Return a function that prints values in an order."""
    return partial(_printed, order)


def _printed(order: Callable[[Any], Any], values: Mapping[Any, Any]) -> list[bytes]:
    return [json.dumps(value) for value in sorted(values.values(), key=order)]


_SECRETS: Final = "whole: environment, actions and credentials included."

_QUERIES: Final = (
    Query(
        name="actual-lrps",
        HELP="list the actual LRPs: all instances, wherever they are",
        about="List the actual LRPs, or those that pass all filters given.",
        arguments=_row_arguments,
        ask=_actual_lrps,
        follow=_follow_actual_lrps,
    ),
    Query(
        name="actual-lrp-groups",
        HELP="list the actual LRPs in groups: an instance, and the one that it replaces",
        about=(
            "List the actual LRPs in groups of an instance and the evacuating one that it\n"
            "replaces, or those that pass all filters given. --process-guid, and --index\n"
            "with it, cannot be given together with the other filters."
        ),
        arguments=_row_arguments,
        ask=_groups,
        follow=_follow_groups,
    ),
    Query(
        name="desired-lrps",
        HELP="list the desired LRPs, whole: environment and credentials included",
        about=f"List the desired LRPs, or those that pass all filters given,\n{_SECRETS}",
        arguments=_desired_arguments,
        ask=_desired_lrps,
        detail="full",
        follow=_follow_desired,
    ),
    Query(
        name="desired-lrp",
        HELP="print one desired LRP, whole: environment and credentials included",
        about=f"Print the desired LRP of a process,\n{_SECRETS}",
        arguments=one_process,
        ask=_desired_lrp,
    ),
    Query(
        name="desired-lrp-scheduling-infos",
        HELP="list what schedulers and routers need of the desired LRPs",
        about="List the scheduling part of the desired LRPs, or of those that pass all filters\ngiven.",
        arguments=_desired_arguments,
        ask=_scheduling_infos,
        follow=_follow_desired,
    ),
    Query(
        name="domains",
        HELP="list the domains that are fresh",
        about="List the domains whose owner vouches that their desired LRPs are complete.",
        arguments=_no_arguments,
        ask=_domains,
        polled=_poll_domains,
    ),
    Query(
        name="cells",
        HELP="list the cells that are there",
        about="List the cells that are there.",
        arguments=_no_arguments,
        ask=_cells,
        polled=_poll_cells,
    ),
)

COMMANDS: Final[Mapping[str, Command]] = {query.name: query for query in _QUERIES}
"""The commands by their names."""
