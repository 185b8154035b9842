"""Answer the reads of a BBS from a mirror of it: a read replica.

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

import argparse
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial

from lrpmirror.background import background
from lrpmirror.cli.shared import arguments
from lrpmirror.cli.shared.following import report_phases
from lrpmirror.cli.shared.output import LineWriter, say_of
from lrpmirror.cli.shared.signals import interruptible, look_at_files_again
from lrpmirror.core.freshness.status import Status
from lrpmirror.errors import ConfigurationError
from lrpmirror.serve.listening import Address, checked_tls, parse_address
from lrpmirror.serve.replica import MAX_AGE
from lrpmirror.serve.routes import not_found, routed
from lrpmirror.serve.serving import serve_replica
from lrpmirror.server import ServerTLS, Traffic, serve_app
from lrpmirror.server.asgi import ASGIApp


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--listen", required=True, metavar="ADDRESS", help="HOST:PORT to listen at; port 0: a free one")
    parser.add_argument(
        "--ops-listen",
        metavar="ADDRESS",
        help="HOST:PORT for a status page, /metrics, /healthz and /readyz, without TLS; given the address of --listen, "
        "they are served there, with its TLS",
    )
    arguments.add_detail(parser)
    parser.add_argument(
        "--max-age",
        type=_seconds,
        default=MAX_AGE,
        metavar="SECONDS",
        help="how old the state may be: when the BBS has been lost for longer, everything is answered with 503 and the "
        "streams are closed (%(default)s)",
    )
    parser.add_argument(
        "--state-file",
        metavar="FILE",
        help="keep the state in FILE, without secrets, and start from it after a restart: the status page shows it at "
        "once, marked as stale; reads are answered once the BBS has been read",
    )
    arguments.add_server_tls(parser, "mutual TLS for those who read from here")
    arguments.add_limits(parser)
    arguments.add_bbs(parser)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise ValueError(text)
    return seconds


async def run(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    listen, tls = arguments.server_of(args)
    ops = None if args.ops_listen is None else parse_address(args.ops_listen)
    beside = ops == listen and listen.port != 0
    if beside:
        ops = None
    if ops is not None:
        checked_tls(ops, ca=None, cert=None, key=None, insecure=args.insecure_listen)
    limits = arguments.limits_of(args, beside_ops=ops is not None)
    where = arguments.target(args)
    servers = {"bbs": Traffic()} if beside else {"bbs": Traffic(), "ops": Traffic()}
    ops_routes = None if args.ops_listen is None else partial(_ops_routes(), servers=servers)
    async with interruptible() as asked, AsyncExitStack() as stack:
        served = await stack.enter_async_context(
            serve_replica(
                where.url,
                tls=where.tls,
                detail=args.detail,
                address=listen.host,
                port=listen.port,
                server_tls=tls,
                max_age=args.max_age,
                state_file=args.state_file,
                limits=limits,
                traffic=servers["bbs"],
                routes=ops_routes if ops_routes is not None and beside else (lambda _mirror, _replica: {}),
            )
        )
        say_of("serve", f"a read replica of {where.name}; Ctrl-C ends it")
        await LineWriter().announce(_url(listen.host, served.host.port, tls))
        if ops is not None and ops_routes is not None:
            app = routed(ops_routes(served.mirror, served.replica), fallback=not_found)
            ops_host = await stack.enter_async_context(
                serve_app(
                    app, address=ops.host, port=ops.port, limits=arguments.ops_limits(limits), traffic=servers["ops"]
                )
            )
            url = _url(ops.host, ops_host.port, None)
            say_of("serve", f"a page for people, /metrics, /healthz and /readyz at {url}")
        nursery = await stack.enter_async_context(background())
        nursery.start_soon(report_phases, served.mirror, _say_status)
        nursery.start_soon(look_at_files_again, "serve", tls)
        await asked.wait()


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
    say_of("serve", f"{status.phase}: {state}{why}")


def _url(host: str, port: int, tls: ServerTLS | None) -> str:
    return f"{'http' if tls is None else 'https'}://{Address(host, port)}"
