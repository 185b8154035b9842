"""The connection to a BBS: options and environment variables, by the names that Diego operators know."""

import argparse
import os
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

from msgspec import Struct

from lrpmirror.cli.shared.output import say
from lrpmirror.client import TLS
from lrpmirror.errors import ConfigurationError
from lrpmirror.relay import is_relay
from lrpmirror.relay._address import parse

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


def add_options(parser: argparse.ArgumentParser) -> None:
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
    """Return what the options say, or the environment where they do not; warns on stderr of skipped verification.

    Raises ConfigurationError, naming option and variable, for what is missing or cannot be read.
    """
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
