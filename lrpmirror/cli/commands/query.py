"""The commands that query a BBS as Diego's own tool does, with its filters and its output: one JSON value a line."""

import argparse
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Literal

from msgspec import Struct

from lrpmirror.cli.shared.arguments import Command, add_bbs, target
from lrpmirror.cli.shared.following import Picked, poll, watch, watching
from lrpmirror.cli.shared.output import LineWriter
from lrpmirror.cli.shared.progress import Waiting
from lrpmirror.cli.shared.signals import until_interrupted
from lrpmirror.core.derived.view import Process
from lrpmirror.core.rows.changes import row_key
from lrpmirror.core.rows.groups import groups_of
from lrpmirror.errors import ConfigurationError
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.relay import Client, client_at
from lrpmirror.server.lists import desired_filter, row_filter
from lrpmirror.wire import json

Args = argparse.Namespace
Write = Callable[[Iterable[object]], Awaitable[None]]
Pick = Callable[[Process], Mapping[Any, Any]]

_MOST: Final = 2**31 - 1

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
    about: str  # its first line stands in the list of commands
    filters: Callable[[argparse.ArgumentParser], object] = lambda _: None  # adds its own arguments
    ask: Callable[[Client, Args, Write], Awaitable[None]] | None = None  # asks, and prints records as they arrive
    read: Callable[[Client], Awaitable[Iterable[object]]] | None = None  # or: asks for all, with --watch repeatedly
    detail: Literal["routing", "full"] = "routing"
    pick: Callable[[Args], Pick] | None = None  # returns what --watch picks of each process of a mirror

    @property
    def description(self) -> str:
        """The text of --help."""
        parts = [self.about, _OUTPUT]
        if self.pick is not None:
            parts.append(f"{_WATCH}\n{_MIRRORED}")
        elif self.read is not None:
            parts.append(f"{_WATCH}\n{_POLLED}")
        return "\n\n".join(parts) + "\n"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""
        self.filters(parser)
        if self.pick is not None or self.read is not None:
            parser.add_argument("--watch", action="store_true", help="go on printing changes until Ctrl-C")
        add_bbs(parser)

    async def run(self, args: Args) -> None:
        """Ask, and print."""
        if not getattr(args, "watch", False):
            await self._once(args)
        elif self.pick is not None:
            async with watching(args, self.name, detail=self.detail) as mirror:
                picked = Picked(self.pick(args))
                await watch(mirror, picked, LineWriter(), first=_sorted, show=lambda _, one: json.to_json(one))
        elif (read := self.read) is not None:
            where = target(args)
            async with until_interrupted(), client_at(where.url, tls=where.tls) as client:
                await poll(lambda: read(client), _place, LineWriter(), json.to_json, self.name)

    async def _once(self, args: Args) -> None:
        out, waiting = LineWriter(), Waiting("listing")
        async with waiting.client(target(args)) as client, waiting.shown() as progress:

            async def write(values: Iterable[object]) -> None:
                if sys.stdout.isatty():
                    progress.hide()
                await out.write(map(json.dumps, values))

            if self.ask is not None:
                await self.ask(client, args, write)
            elif self.read is not None:
                await write(await self.read(client))


def _sorted(values: Mapping[Any, object]) -> list[bytes]:
    return [json.dumps(value) for value in sorted(values.values(), key=_place)]


def _place(value: object) -> tuple[Any, ...]:
    """Return what a value is known by, and sorted by."""
    match value:
        case ActualLRP():
            return value.process_guid, value.index, value.presence
        case ActualLRPGroup():
            return _place(value.resolve())
        case DesiredLRP():
            return (value.process_guid,)
        case CellPresence():
            return (value.cell_id,)
        case domain:
            return (domain,)


async def _list(client: Client, args: Args, write: Write, *, name: Any, names: Mapping[str, str], **more: Any) -> None:
    """Print a list, with filters: the names that the client has for those of the arguments."""
    filters = {theirs: getattr(args, ours) for ours, theirs in names.items()}
    async with client.stream_list(name, **filters, **more) as batches:
        async for batch in batches:
            await write(batch)


# Actual LRPs and their groups


def _row_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--domain", default="", metavar="NAME", help="only those of this domain")
    parser.add_argument("-c", "--cell-id", default="", metavar="ID", help="only those on this cell")
    parser.add_argument("-p", "--process-guid", default="", metavar="GUID", help="only those of this process")
    parser.add_argument("-i", "--index", type=_index, metavar="N", help="only those of this index")


def _index(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is not an index: 0 or more")
    return int(text)


def _pick_rows(args: Args) -> Pick:
    wanted = _wanted_rows(args)
    return lambda process: {row_key(row): row for row in wanted(process)}


def _wanted_rows(args: Args) -> Callable[[Process], Iterable[ActualLRP]]:
    passes = row_filter(args.domain, args.cell_id, args.index)
    return lambda process: filter(passes, process.rows) if args.process_guid in ("", process.guid) else ()


async def _groups(client: Client, args: Args, write: Write) -> None:
    _check_group_filters(args)
    if not args.process_guid:
        names = {name: name for name in ("domain", "cell_id")}
        await _list(client, args, write, name="actual_lrp_groups", names=names)
    elif args.index is None:
        await write(await client.actual_lrp_groups_by_process_guid(args.process_guid))
    else:
        await write([await client.actual_lrp_group_by_process_guid_and_index(args.process_guid, args.index)])


def _pick_groups(args: Args) -> Pick:
    """Pick the groups of the rows that pass the filters, as the server makes them."""
    _check_group_filters(args)
    wanted = _wanted_rows(args)
    return lambda process: {(process.guid, group.resolve().index): group for group in groups_of(wanted(process))}


def _check_group_filters(args: Args) -> None:
    """Raise ConfigurationError where the server could not combine them."""
    if args.index is not None and not args.process_guid:
        raise ConfigurationError("--index is of a process: give --process-guid too")
    if args.process_guid and (args.domain or args.cell_id):
        raise ConfigurationError(
            "the BBS cannot combine --process-guid with --domain or --cell-id for groups: leave one of them out"
        )


# Desired LRPs


def _desired_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--domain", default="", metavar="NAME", help="only those of this domain")
    for short, option, which in (
        ("-p", "--process-guid", "of this process"),
        ("-a", "--app-guid", "whose process guid begins with this"),
    ):
        text = f"only those {which}; may be given several times"
        parser.add_argument(short, option, action="append", default=[], metavar="GUID", help=text)


def _pick_desired(args: Args) -> Pick:
    passes = desired_filter(args.domain, args.process_guid, args.app_guid)
    return lambda of: {of.guid: of.desired} if of.desired is not None and passes(of.desired) else {}


async def _desired_lrp(client: Client, args: Args, write: Write) -> None:
    await write([await client.desired_lrp(args.process_guid, full=True)])


_ROW_FILTERS: Final = {name: name for name in ("domain", "cell_id", "process_guid", "index")}
_DESIRED_FILTERS: Final = {"domain": "domain", "process_guid": "process_guids", "app_guid": "app_guids"}

_FILTERED: Final = "With filters: those that pass all of them."

_QUERIES: Final = (
    Query(
        name="actual-lrps",
        about=f"List the actual LRPs: all instances, wherever they are.\n\n{_FILTERED}",
        filters=_row_filters,
        ask=partial(_list, name="actual_lrps", names=_ROW_FILTERS),
        pick=_pick_rows,
    ),
    Query(
        name="actual-lrp-groups",
        about=(
            "List the actual LRPs in groups: an instance, and the evacuating one that it replaces.\n\n"
            f"{_FILTERED} --process-guid, and --index with it,\n"
            "cannot be given together with the other filters."
        ),
        filters=_row_filters,
        ask=_groups,
        pick=_pick_groups,
    ),
    Query(
        name="desired-lrps",
        about=f"List the desired LRPs, whole: environment, actions and credentials included.\n\n{_FILTERED}",
        filters=_desired_filters,
        ask=partial(_list, name="desired_lrps", names=_DESIRED_FILTERS, full=True),
        detail="full",
        pick=_pick_desired,
    ),
    Query(
        name="desired-lrp",
        about="Print one desired LRP, whole: environment, actions and credentials included.",
        filters=lambda parser: parser.add_argument("process_guid", metavar="PROCESS_GUID", help="the process"),
        ask=_desired_lrp,
    ),
    Query(
        name="desired-lrp-scheduling-infos",
        about=f"List what schedulers and routers need of the desired LRPs.\n\n{_FILTERED}",
        filters=_desired_filters,
        ask=partial(_list, name="scheduling_infos", names=_DESIRED_FILTERS),
        pick=_pick_desired,
    ),
    Query(
        name="domains",
        about="List the domains that are fresh: whose owner vouches that their desired LRPs are complete.",
        read=lambda client: client.domains(),
    ),
    Query(name="cells", about="List the cells that are there.", read=lambda client: client.cells()),
)

COMMANDS: Final[Mapping[str, Command]] = {
    query.name: Command(query.description, query.configure, query.run) for query in _QUERIES
}
