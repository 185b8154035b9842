"""What a command is, and the arguments that several have: their types, and the options of a server."""

import argparse
import importlib.util
import math
from collections.abc import Callable
from typing import Final, Protocol

from msgspec.structs import replace

from lrpmirror.errors import ConfigurationError
from lrpmirror.server import Limits
from lrpmirror.server.limits import allow_more_files, connections_allowed


class Command(Protocol):
    """A module, or a value where several are alike, with these four."""

    @property
    def HELP(self) -> str:  # noqa: N802 - as the constants of modules are named
        """What it does, in a line."""

    @property
    def DESCRIPTION(self) -> str:  # noqa: N802 - as above
        """The description for --help, in lines of their final width."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it, and return the exit status."""


def require(package: str) -> None:
    """Raise ConfigurationError, which says how to get it, where a package of the extra `cli` is not installed."""
    if importlib.util.find_spec(package) is None:
        raise ConfigurationError(f"{package} is not installed: pip install 'lrpmirror[cli]'")


def seconds(text: str) -> float:
    """Read a positive number of seconds."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return number


def count(text: str) -> int:
    """Read a positive whole number."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


OPS_SHARE: Final = 0.125
"""The share of the descriptors for a separate ops port, so that neither port can use up all."""

OPS_MOST: Final = 100

_LIMITS: Final[tuple[tuple[str, Callable[[str], float], str, str], ...]] = (
    ("max_connections", count, "N", "most connections at once (as many as the limit of open files allows)"),
    ("handshake_timeout", seconds, "SECONDS", "time limit for the TLS handshake (%(default)g)"),
    ("head_timeout", seconds, "SECONDS", "time limit for the head of a request (%(default)g)"),
    ("body_timeout", seconds, "SECONDS", "time limit for the body of a request (%(default)g)"),
    ("idle_timeout", seconds, "SECONDS", "time limit between two requests on a connection (%(default)g)"),
    ("write_timeout", seconds, "SECONDS", "time limit for the client to read 64 KiB (%(default)g)"),
    (
        "reply_timeout",
        seconds,
        "SECONDS",
        "total time that one reply may wait for the client, streams aside (%(default)g)",
    ),
    ("max_body", count, "BYTES", "the largest body of a request (%(default)s)"),
    ("max_buffered", count, "BYTES", "most bytes of all bodies that are being received (%(default)s)"),
)
"""The fields of `Limits`: the type of each, its metavar and help."""


def add_simulation(parser: argparse.ArgumentParser, *, cells: int, apps: int) -> None:
    """Add the options of a simulated Diego."""
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="one seed, one simulation (%(default)s)")
    parser.add_argument("--cells", type=count, default=cells, metavar="N", help="number of cells (%(default)s)")
    parser.add_argument("--apps", type=count, default=apps, metavar="N", help="number of apps (%(default)s)")


def add_detail(parser: argparse.ArgumentParser) -> None:
    """Add --detail."""
    parser.add_argument(
        "--detail",
        choices=("routing", "full"),
        default="routing",
        help="how much of desired LRPs to keep: what schedulers and routers use, or everything (%(default)s)",
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
        help="allow listening without TLS where other machines can connect",
    )


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the options of a server's limits."""
    defaults = Limits()
    group = parser.add_argument_group(
        "limits for those who connect",
        "A client that takes longer is disconnected. When there are too many connections,\n"
        "a new one replaces the one that the server has waited for the longest.",
    )
    for name, kind, metavar, text in _LIMITS:
        flag = f"--{name.replace('_', '-')}"
        group.add_argument(flag, type=kind, metavar=metavar, default=getattr(defaults, name), help=text)


def limits_of(args: argparse.Namespace, *, beside_ops: bool = False) -> Limits:
    """Return the limits that the options ask for, after raising the process's own limit of open files.

    `beside_ops` leaves descriptors for another port.
    """
    allow_more_files()
    limits = Limits(**{name: getattr(args, name) for name, *_ in _LIMITS})
    if limits.max_connections is not None:
        return limits
    return replace(limits, max_connections=connections_allowed(1 - OPS_SHARE if beside_ops else 1.0))


def ops_limits(limits: Limits) -> Limits:
    """Return the limits of the ops port beside a port that has these."""
    return replace(limits, max_connections=min(OPS_MOST, connections_allowed(OPS_SHARE)))
