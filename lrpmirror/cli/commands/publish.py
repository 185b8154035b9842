"""Keep the state of a BBS in Redis or Valkey, for any number of mirrors to read.

Mirror a BBS and keep what it has in Redis or Valkey: every record as the BBS
would list it, a stream of changes, and how fresh it all is. Whoever gives that
URL as --bbs-url (or to open_mirror) has the same mirror, without asking the
BBS for anything.

Any number may publish to one URL: one leads, the others follow the BBS and
take over within seconds. Nothing is lost where Redis is slow, away, or comes
back without its data: what is there is compared and written again.

Without --detail full no environments, actions and credentials are written.

The forms of URL:
  redis://[USER:PASSWORD@]HOST[:PORT][/DB]
  unix:///PATH/OF/SOCKET
  redis+sentinel://HOST[:PORT],…/SERVICE
  redis+cluster://HOST[:PORT],…
with rediss for TLS, and ?prefix=NAME for the prefix of the keys (lrpmirror).

Says on stderr how it fares. Ends at Ctrl-C or SIGTERM.
"""

import argparse
import os
from functools import partial
from typing import Final

from lrpmirror.background import background
from lrpmirror.cli.shared.arguments import add_bbs, add_detail, add_files, count, target, tls_of
from lrpmirror.cli.shared.following import report_phases
from lrpmirror.cli.shared.output import say_of
from lrpmirror.cli.shared.signals import interruptible
from lrpmirror.core.freshness.status import Status
from lrpmirror.errors import ConfigurationError
from lrpmirror.mirror import open_mirror
from lrpmirror.relay import Publisher, PublisherStatus, client_at, open_publisher

_MEBI: Final = 1024 * 1024

_say: Final = partial(say_of, "publish")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("--to", metavar="URL", help="where to publish, such as redis://redis.example.com [RELAY_URL]")
    add_detail(parser)
    add("--state-file", metavar="FILE", help="keep the state in FILE too, to start from after a restart")
    add(
        "--stream-mib",
        type=count,
        default=64,
        metavar="N",
        help="size of the stream of changes; a reader that falls further behind lists everything again (%(default)s)",
    )
    group = parser.add_argument_group("TLS of Redis or Valkey, for rediss")
    add_files(group, "relay_")
    add_bbs(parser)


async def run(args: argparse.Namespace) -> None:
    """Publish until interrupted."""
    to = args.to or os.environ.get("RELAY_URL", "")
    if not to:
        raise ConfigurationError("no relay is named: give --to URL or set RELAY_URL, such as redis://redis.example.com")
    tls, where = tls_of(args, "relay_"), target(args)
    async with (
        interruptible() as asked,
        client_at(where.url, tls=where.tls) as client,
        open_mirror(client, detail=args.detail, state_file=args.state_file) as mirror,
        open_publisher(
            mirror, client, to, tls=tls, detail=args.detail, stream_bytes=args.stream_mib * _MEBI
        ) as publisher,
        background() as nursery,
    ):
        _say(f"publishing {where.name}; Ctrl-C ends it")
        nursery.start_soon(report_phases, mirror, _say_status)
        nursery.start_soon(_report_roles, publisher)
        await asked.wait()


def _say_status(status: Status) -> None:
    why = "" if status.live or status.trouble is None else f"; {status.trouble}"
    _say(f"the mirror is {status.phase}: {status.actual_lrps} actual and {status.desired_lrps} desired LRPs{why}")


async def _report_roles(publisher: Publisher) -> None:
    shown = ""

    def differs(status: PublisherStatus) -> bool:
        return _role(status) != shown

    while True:
        shown = _role(await publisher.wait_for(differs))
        _say(shown)


def _role(status: PublisherStatus) -> str:
    if status.role == "leader":
        return "this publisher leads" + (", and the relay is current" if status.current else "")
    if status.role == "standby":
        return "this publisher stands by: another leads, or the first lists are not in"
    return f"the relay cannot be written: {status.trouble}" if status.trouble else "connecting to the relay"
