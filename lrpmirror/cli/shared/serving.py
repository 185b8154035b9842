"""Shared parts of the commands that run for long: options of a server, SIGHUP, and reports of the mirror's phase."""

import argparse
import signal
from collections.abc import Callable
from functools import partial
from typing import Final

import trio
from msgspec import Struct

from lrpmirror.cli.shared.arguments import count, seconds
from lrpmirror.cli.shared.output import say
from lrpmirror.core.freshness.status import Status
from lrpmirror.mirror import Mirror
from lrpmirror.server import Limits, ServerTLS
from lrpmirror.server.limits import allow_more_files, connections_allowed

OPS_SHARE: Final = 0.125
"""The share of the descriptors for a separate ops port, so that neither port can use up all."""

OPS_MOST: Final = 100


class _Option(Struct, frozen=True):
    flag: str
    kind: Callable[[str], float]
    metavar: str
    text: str

    @property
    def field(self) -> str:
        return self.flag.replace("-", "_")


_OPTIONS: Final = (
    _Option("max-connections", count, "N", "connections at once (as many as the limit of open files leaves)"),
    _Option("handshake-timeout", seconds, "SECONDS", "for the TLS handshake (%(default)g)"),
    _Option("head-timeout", seconds, "SECONDS", "for the head of a request (%(default)g)"),
    _Option("body-timeout", seconds, "SECONDS", "for its body (%(default)g)"),
    _Option("idle-timeout", seconds, "SECONDS", "between two requests on a connection (%(default)g)"),
    _Option("write-timeout", seconds, "SECONDS", "for taking what is written to it, 64 KiB at most (%(default)g)"),
    _Option("reply-timeout", seconds, "SECONDS", "for letting one reply wait in all, streams aside (%(default)g)"),
    _Option("max-body", count, "BYTES", "the largest body of a request (%(default)s)"),
    _Option("max-buffered", count, "BYTES", "all bodies together that are being received (%(default)s)"),
)


def add_server_tls(parser: argparse.ArgumentParser, title: str) -> None:
    """Add the options of a server's mutual TLS, as a group of that title."""
    group = parser.add_argument_group(title)
    group.add_argument("--server-ca-file", metavar="FILE", help="the authorities of clients' certificates, PEM")
    group.add_argument("--server-cert-file", metavar="FILE", help="this server's certificate, PEM")
    group.add_argument("--server-key-file", metavar="FILE", help="its private key, PEM")
    group.add_argument(
        "--insecure-listen",
        action="store_true",
        help="listen without TLS also where others than this machine can reach it",
    )


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    defaults = Limits()
    group = parser.add_argument_group(
        "limits for those who connect",
        "Whoever takes longer is cut off; one connection too many takes the place of the one that has been waited for "
        "the longest.",
    )
    for option in _OPTIONS:
        group.add_argument(
            f"--{option.flag}",
            type=option.kind,
            metavar=option.metavar,
            default=getattr(defaults, option.field),
            help=option.text,
        )


def limits_of(args: argparse.Namespace, *, beside_ops: bool = False) -> Limits:
    """Return the limits that the options ask for, after raising the process's own limit of open files.

    `beside_ops` leaves descriptors for another port.
    """
    allow_more_files()
    given = {option.field: getattr(args, option.field) for option in _OPTIONS}
    if given["max_connections"] is None:
        given["max_connections"] = connections_allowed(1 - OPS_SHARE if beside_ops else 1.0)
    return Limits(**given)


def ops_limits(limits: Limits) -> Limits:
    """Return the limits of the ops port beside a port that has these."""
    return Limits(
        max_connections=min(OPS_MOST, connections_allowed(OPS_SHARE)),
        **{option.field: getattr(limits, option.field) for option in _OPTIONS if option.field != "max_connections"},
    )


async def look_at_files_again(command: str, tls: ServerTLS | None) -> None:
    """Check the TLS files at each SIGHUP, for ever. Where SIGHUP was to be ignored, as by nohup, it is."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            if tls is None:
                said = "SIGHUP: there are no TLS files to look at"
            else:
                before = tls.changes
                tls.check()
                taken = "are taken up" if tls.changes > before else "are those in use"
                said = f"SIGHUP: the TLS files {f'cannot be used: {tls.problem}' if tls.problem else taken}"
            say(f"lrpmirror {command}: {said}")


async def report_phases(mirror: Mirror, report: Callable[[Status], None]) -> None:
    """Call `report` with the mirror's status at first and whenever its phase or trouble changes, for ever."""
    shown = ""
    while True:
        await mirror.wait_for(partial(_differs, shown))
        shown = _state(mirror.status)
        report(mirror.status)


def _differs(shown: str, mirror: Mirror) -> bool:
    return _state(mirror.status) != shown


def _state(status: Status) -> str:
    """Return what is worth a line when it changes: not the numbers, and not the same failure again."""
    return status.phase if status.live else f"{status.phase} {status.trouble}"
