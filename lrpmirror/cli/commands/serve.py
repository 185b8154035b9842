"""`lrpmirror serve`: a read replica of a BBS."""

import argparse
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import trio
from msgspec import Struct

from lrpmirror.cli.shared import bbs
from lrpmirror.cli.shared.lines import LineWriter
from lrpmirror.cli.shared.output import say
from lrpmirror.cli.shared.serving import (
    add_limits,
    add_server_tls,
    limits_of,
    look_at_files_again,
    ops_limits,
    report_phases,
)
from lrpmirror.cli.shared.signals import interruptible
from lrpmirror.core.freshness.status import Status
from lrpmirror.errors import ConfigurationError
from lrpmirror.serve.listening import Address, checked_tls, parse_address
from lrpmirror.serve.replica import MAX_AGE
from lrpmirror.serve.routes import not_found, routed
from lrpmirror.serve.serving import serve_replica
from lrpmirror.server import Limits, ServerTLS, Traffic, serve_app
from lrpmirror.server.asgi import ASGIApp

HELP: Final = "answer the reads of a BBS from a mirror of it: a read replica"

DESCRIPTION: Final = """\
Mirror a BBS and answer the read part of its protocol, so that Diego's own
tools and clients read from here instead of from the BBS: lists with their
filters, and both event streams. Writes are refused. Until the first
synchronisation everything is answered with 503; when the BBS fails over,
those who read the streams here are told what has changed, and notice nothing
else. How old the state is, is said in a header of each reply, and on the
streams in comments, which mirrors of this replica count in; beyond --max-age
everything is answered with 503. Replicas of replicas are fine.

Without --detail full no environments, actions and credentials are kept:
whole desired LRPs are refused, and events about desired LRPs come without
them; their scheduling and routing parts are served. So that no key is served
either, such as that of diego-ssh, the routes are those of cf-router, tcp-router
and internal-router; of other routers only the names are there.

Listens with mutual TLS if the three --server-* files are given. Without them
it listens on loopback only, unless --insecure-listen says otherwise. Prints its
URL on stdout once it listens, which is of use with port 0: any free port; and
on stderr how the mirror fares. Files that are renewed are taken up, at the latest
at SIGHUP. Ends at Ctrl-C or SIGTERM.
"""


class Plan(Struct, frozen=True):
    """The options of a server."""

    listen: Address
    ops: Address | None
    tls: ServerTLS | None
    limits: Limits
    ops_beside: bool
    """Whether the ops paths are at the same address."""
    full: bool
    max_age: float
    state_file: str | None


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--listen", required=True, metavar="ADDRESS", help="HOST:PORT to answer at; port 0: a free one")
    parser.add_argument(
        "--ops-listen",
        metavar="ADDRESS",
        help="HOST:PORT of a page for people, /metrics, /healthz and /readyz, without TLS; where it is that of "
        "--listen, they are there, and with its TLS",
    )
    parser.add_argument(
        "--detail",
        choices=("routing", "full"),
        default="routing",
        help="what is kept of desired LRPs: what schedulers and routers use, or everything (%(default)s)",
    )
    parser.add_argument(
        "--max-age",
        type=_seconds,
        default=MAX_AGE,
        metavar="SECONDS",
        help="how old the state may be that is still answered from: when the BBS has been lost for longer, everything "
        "is answered with 503 and the streams are closed (%(default)s)",
    )
    parser.add_argument(
        "--state-file",
        metavar="FILE",
        help="keep the state in FILE, without secrets, and begin with it after a restart: the pages show it at once, "
        "marked as stale; reads are answered once the BBS has been read, since their answers could not say so",
    )
    add_server_tls(parser, "mutual TLS for those who read from here")
    add_limits(parser)
    bbs.add_options(parser)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise ValueError(text)
    return seconds


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    plan = _plan(args)
    where = bbs.target(args)
    trio.run(_serve, where, plan)
    return 0


def _plan(args: argparse.Namespace) -> Plan:
    listen = parse_address(args.listen)
    insecure = args.insecure_listen
    tls = checked_tls(
        listen, ca=args.server_ca_file, cert=args.server_cert_file, key=args.server_key_file, insecure=insecure
    )
    ops = None if args.ops_listen is None else parse_address(args.ops_listen)
    beside = ops == listen and listen.port != 0
    if ops is not None and not beside:
        checked_tls(ops, ca=None, cert=None, key=None, insecure=insecure)
    limits = limits_of(args, beside_ops=ops is not None and not beside)
    return Plan(
        listen,
        ops,
        tls,
        limits,
        ops_beside=beside,
        full=args.detail == "full",
        max_age=args.max_age,
        state_file=args.state_file,
    )


async def _serve(where: bbs.Target, plan: Plan) -> None:
    servers = {"bbs": Traffic()} if plan.ops_beside else {"bbs": Traffic(), "ops": Traffic()}
    ops_routes = None if plan.ops is None else partial(_ops_routes(), servers=servers)
    async with interruptible() as asked, AsyncExitStack() as stack:
        served = await stack.enter_async_context(
            serve_replica(
                where.url,
                tls=where.tls,
                detail="full" if plan.full else "routing",
                address=plan.listen.host,
                port=plan.listen.port,
                server_tls=plan.tls,
                max_age=plan.max_age,
                state_file=plan.state_file,
                limits=plan.limits,
                traffic=servers["bbs"],
                routes=ops_routes if ops_routes is not None and plan.ops_beside else (lambda _mirror, _replica: {}),
            )
        )
        _say(f"a read replica of {where.name}; Ctrl-C ends it")
        await LineWriter().announce(_url(plan.listen.host, served.host.port, plan.tls))
        if plan.ops is not None and ops_routes is not None and not plan.ops_beside:
            app = routed(ops_routes(served.mirror, served.replica), fallback=not_found)
            limits = ops_limits(plan.limits)
            ops = await stack.enter_async_context(
                serve_app(app, address=plan.ops.host, port=plan.ops.port, limits=limits, traffic=servers["ops"])
            )
            _say(f"a page for people, /metrics, /healthz and /readyz at {_url(plan.ops.host, ops.port, None)}")
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(report_phases, served.mirror, _say_status)
        nursery.start_soon(look_at_files_again, "serve", plan.tls)
        await asked.wait()
        nursery.cancel_scope.cancel()


def _ops_routes() -> Callable[..., Mapping[str, ASGIApp]]:
    try:
        from lrpmirror.serve.ops import ops_routes  # noqa: PLC0415 - only this option needs the extra
    except ModuleNotFoundError as exc:
        raise ConfigurationError(
            "--ops-listen needs the extra `serve`: pip install 'lrpmirror[serve]', or leave the option out"
        ) from exc
    return ops_routes


def _say_status(status: Status) -> None:
    state = f"{status.actual_lrps} actual and {status.desired_lrps} desired LRPs at revision {status.revision}"
    why = "" if status.live or status.trouble is None else f"; {status.trouble}"
    _say(f"{status.phase}: {state}{why}")


def _url(host: str, port: int, tls: ServerTLS | None) -> str:
    return f"{'http' if tls is None else 'https'}://{Address(host, port)}"


def _say(line: str) -> None:
    say(f"lrpmirror serve: {' '.join(line.split())}")
