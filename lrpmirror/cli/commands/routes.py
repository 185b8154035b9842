"""Print which instances serve which route.

These are HTTP routes, by the rules of Diego's own route emitter: its instances
are RUNNING, routable, and below the desired number of instances. HOST limits it
to that host name, in whatever case it is written, and its paths; with --internal
to that name and those of its instances (0.NAME); with --tcp it is an external
port.

On a terminal it is a table, elsewhere (or with --json) one JSON object a line:
the route's "hostname" (TCP: "router_group_guid" and "external_port"), and its
"endpoints", where what is empty, zero or false is left out (never an index).

With --watch the answer is kept up to date until Ctrl-C: first all of it, then a
JSON object for each route that changed:
  {"change": "added" | "changed" | "removed", "before": …, "after": …}
where one side is null for what was added or removed.

The exit status is 1 where HOST has no route, unless with --watch.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from lrpmirror.cli.shared.arguments import add_bbs
from lrpmirror.cli.shared.following import following, watch, watching
from lrpmirror.cli.shared.output import LineWriter, say, table
from lrpmirror.cli.shared.view_json import VIEWS, PrintedView
from lrpmirror.core.derived.views.definitions import lower_host
from lrpmirror.errors import ConfigurationError

Key = Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("host", metavar="HOST", nargs="?", default="", help="only this route")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--tcp", action="store_true", help="TCP routes, by external port")
    kinds.add_argument("--internal", action="store_true", help="internal routes, from container to container")
    parser.add_argument("--watch", action="store_true", help="go on printing changes until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="JSON on a terminal, too")
    add_bbs(parser)


async def run(args: argparse.Namespace) -> int:
    """Print routes."""
    kind = "tcp-routes" if args.tcp else "internal-routes" if args.internal else "http-routes"
    wanted = _wanted(kind, args.host)
    if args.watch:
        await _watch(args, VIEWS[kind], wanted)
    elif not await _once(args, VIEWS[kind], wanted) and args.host:
        say(f"lrpmirror routes: nothing serves {args.host} among the {kind}")
        return 1
    return 0


async def _once(args: argparse.Namespace, view: PrintedView, wanted: Callable[[Key], bool]) -> bool:
    async with following(args) as (mirror, _):
        derived = await mirror.view(view.make())
        values = {key: value for key, value in derived.items() if wanted(key)}
    await LineWriter().write(_shown(args, view, values))
    return bool(values)


async def _watch(args: argparse.Namespace, view: PrintedView, wanted: Callable[[Key], bool]) -> None:
    async with watching(args, "routes") as mirror:
        await watch(
            mirror,
            view.make(),
            LineWriter(),
            first=lambda values: _shown(args, view, values),
            show=lambda key, value: next(view.objects({key: value})),
            wanted=wanted,
        )


def _shown(args: argparse.Namespace, view: PrintedView, values: Mapping[Key, Any]) -> list[bytes]:
    objects = view.objects(values)
    if sys.stdout.isatty() and not args.json:
        return [line.encode() for line in table(_HEADS, _rows(objects))]
    return [msgspec.json.encode(one) for one in objects]


def _wanted(kind: str, host: str) -> Callable[[Key], bool]:
    """Return the keys of a view that the options select."""
    if not host:
        return lambda _: True
    if kind == "tcp-routes":
        if not (host.isascii() and host.isdigit()):
            raise ConfigurationError(f"{host!r} is not an external port, by which TCP routes are known")
        port = int(host)
        return lambda key: bool(key[1] == port)
    host = lower_host(host)
    if kind == "internal-routes":
        return lambda key: key == host or (key.endswith(f".{host}") and key.removesuffix(f".{host}").isdigit())
    return lambda key: key == host or key.startswith(f"{host}/")


_HEADS: Final = ("ROUTE", "ENDPOINT", "TLS PORT", "ZONE", "PROCESS", "INDEX", "NOTES")


def _rows(objects: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for one in objects:
        route = one.get("hostname") or f"{one.get('router_group_guid', '')}:{one.get('external_port', 0)}"
        for endpoint in one["endpoints"]:
            port = f":{endpoint['port']}" if "port" in endpoint else ""
            yield (
                route,
                f"{endpoint['host']}{port}",
                str(endpoint.get("tls_port", "")),
                endpoint.get("availability_zone", ""),
                endpoint["process_guid"],
                str(endpoint["index"]),
                ", ".join(_notes(endpoint)),
            )
            route = ""


def _notes(endpoint: Mapping[str, Any]) -> Iterator[str]:
    if endpoint.get("evacuating"):
        yield "evacuating"
    for key in ("protocol", "route_service_url", "isolation_segment"):
        if key in endpoint:
            yield str(endpoint[key])
