"""What a command is, and the arguments that several have: types, the connection to a BBS, the options of a server."""

import argparse
import importlib.util
import math
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.cli.shared.output import say
from lrpmirror.client import TLS
from lrpmirror.errors import ConfigurationError
from lrpmirror.relay import is_relay
from lrpmirror.relay._address import parse
from lrpmirror.serve.listening import Address, checked_tls, parse_address
from lrpmirror.server import Limits, ServerTLS
from lrpmirror.server.limits import allow_more_files, connections_allowed


class Command(Struct, frozen=True):
    """What a module of a command has: its docstring, and two functions."""

    description: str  # the text of --help; its first line stands in the list of commands
    configure: Callable[[argparse.ArgumentParser], None]  # adds the arguments
    run: Callable[[argparse.Namespace], int | Coroutine[Any, Any, int | None]]
    """What does it, on trio where it is asynchronous; returns the exit status, or None for 0."""


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


OPS_SHARE: Final = 0.125  # the share of the descriptors for a separate ops port, so that neither port can use up all

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
        "--insecure-listen", action="store_true", help="allow listening without TLS where other machines can connect"
    )


def server_of(args: argparse.Namespace) -> tuple[Address, ServerTLS | None]:
    """Return where a server is to listen, and its TLS. Raises ConfigurationError for files that cannot be used."""
    listen, ca, cert, key = parse_address(args.listen), args.server_ca_file, args.server_cert_file, args.server_key_file
    return listen, checked_tls(listen, ca=ca, cert=cert, key=key, insecure=args.insecure_listen)


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
    """Return the limits asked for, with descriptors left for another port, after raising the limit of open files."""
    allow_more_files()
    limits = Limits(**{name: getattr(args, name) for name, *_ in _LIMITS})
    if limits.max_connections is not None:
        return limits
    return replace(limits, max_connections=connections_allowed(1 - OPS_SHARE if beside_ops else 1.0))


def ops_limits(limits: Limits) -> Limits:
    """Return the limits of the ops port beside a port that has these."""
    return replace(limits, max_connections=min(OPS_MOST, connections_allowed(OPS_SHARE)))


_TRUE: Final = frozenset({"1", "t", "true"})
_FALSE: Final = frozenset({"", "0", "f", "false"})


_FILES: Final = {"ca": "ca_cert", "cert": "client_cert", "key": "client_key"}
_TEXTS: Final = ("the authorities to trust, PEM", "this client's certificate, PEM", "its private key, PEM")


class Target(Struct, frozen=True):
    """The URL of a BBS, and the files to authenticate."""

    url: str
    tls: TLS | None

    @property
    def name(self) -> str:
        """The URL as it may be printed: that of a relay can hold a password."""
        return parse(self.url).name if is_relay(self.url) else self.url


def add_bbs(parser: argparse.ArgumentParser) -> None:
    """Add the options of a BBS's connection."""
    group = parser.add_argument_group(
        "connection to the BBS, or to a relay of it",
        "Instead of an option its environment variable can be set; the option wins.\n"
        "Each also has the spelling of Diego's own tools, such as --bbsURL.",
    )
    text = "the URL, such as https://bbs.service.cf.internal:8889, or that of a relay: redis://… [BBS_URL]"
    group.add_argument("--bbs-url", "--bbsURL", metavar="URL", help=text)
    add_files(group, aliases=("--caCertFile", "--clientCertFile", "--clientKeyFile"))
    group.add_argument(
        "--skip-cert-verify",
        "--skipCertVerify",
        action="store_true",
        help="do not verify the server's certificate [SKIP_CERT_VERIFY]",
    )


def add_files(group: Any, prefix: str = "", aliases: Sequence[str] = ()) -> None:
    """Add the options of the files for TLS, to a group of arguments."""
    for name, text, alias in zip_longest(_FILES.values(), _TEXTS, aliases):
        full = f"{prefix}{name}_file"
        options = [f"--{full.replace('_', '-')}", alias]
        group.add_argument(*filter(None, options), metavar="FILE", help=f"{text} [{full.upper()}]")


def target(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Target:
    """Return what options say, else the environment. Raises ConfigurationError, naming both."""
    url = args.bbs_url or environ.get("BBS_URL", "")
    if not url:
        raise ConfigurationError(
            "no BBS is named: give --bbs-url URL or set BBS_URL, such as https://bbs.service.cf.internal:8889"
        )
    verify = not (args.skip_cert_verify or _flag("SKIP_CERT_VERIFY", environ))
    if url.startswith(("https:", "rediss")) and not verify:
        say("lrpmirror: warning: the BBS is not authenticated (--skip-cert-verify)")
    return Target(url, tls_of(args, environ=environ, verify=verify))


def tls_of(
    args: argparse.Namespace, prefix: str = "", *, environ: Mapping[str, str] = os.environ, verify: bool = True
) -> TLS | None:
    """Return the files that options with a prefix name, or the environment; None where nothing is to be said."""
    names = {kind: f"{prefix}{name}_file" for kind, name in _FILES.items()}
    files = {kind: getattr(args, name) or environ.get(name.upper()) or None for kind, name in names.items()}
    return TLS(**files, verify=verify) if any(files.values()) or not verify else None


def _flag(variable: str, environ: Mapping[str, str]) -> bool:
    value = environ.get(variable, "").lower()
    if value not in _TRUE | _FALSE:
        raise ConfigurationError(f"{variable}={environ[variable]!r} is neither true nor false: set it to one of them")
    return value in _TRUE
