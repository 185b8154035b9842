"""The connection to a BBS: options and environment variables, by the names that Diego operators know."""

import argparse
import os
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from lrpmirror.cli.shared.output import say
from lrpmirror.client import TLS
from lrpmirror.errors import ConfigurationError
from lrpmirror.relay import is_relay
from lrpmirror.relay._address import parse

_TRUE: Final = frozenset({"1", "t", "true"})
_FALSE: Final = frozenset({"", "0", "f", "false"})


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
    for option, alias, variable, text in (
        (
            "--bbs-url",
            "--bbsURL",
            "BBS_URL",
            "the URL, such as https://bbs.service.cf.internal:8889, or that of a relay: redis://…",
        ),
        ("--ca-cert-file", "--caCertFile", "CA_CERT_FILE", "the authorities to trust, PEM"),
        ("--client-cert-file", "--clientCertFile", "CLIENT_CERT_FILE", "this client's certificate, PEM"),
        ("--client-key-file", "--clientKeyFile", "CLIENT_KEY_FILE", "its private key, PEM"),
    ):
        metavar = "URL" if option == "--bbs-url" else "FILE"
        group.add_argument(option, alias, metavar=metavar, help=f"{text} [{variable}]")
    group.add_argument(
        "--skip-cert-verify",
        "--skipCertVerify",
        action="store_true",
        help="do not verify the server's certificate [SKIP_CERT_VERIFY]",
    )


def target(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Target:
    """Return what the options say, or the environment where they do not; warns on stderr of skipped verification.

    Raises ConfigurationError, naming option and variable, for what is missing or cannot be read.
    """
    url = args.bbs_url or environ.get("BBS_URL", "")
    if not url:
        raise ConfigurationError(
            "no BBS is named: give --bbs-url URL or set BBS_URL, such as https://bbs.service.cf.internal:8889"
        )
    ca = args.ca_cert_file or environ.get("CA_CERT_FILE") or None
    cert = args.client_cert_file or environ.get("CLIENT_CERT_FILE") or None
    key = args.client_key_file or environ.get("CLIENT_KEY_FILE") or None
    verify = not (args.skip_cert_verify or _flag("SKIP_CERT_VERIFY", environ))
    if url.startswith(("https:", "rediss")) and not verify:
        say("lrpmirror: warning: the BBS is not authenticated (--skip-cert-verify)")
    tls = None if ca is cert is key is None and verify else TLS(ca=ca, cert=cert, key=key, verify=verify)
    return Target(url, tls)


def _flag(variable: str, environ: Mapping[str, str]) -> bool:
    value = environ.get(variable, "").lower()
    if value not in _TRUE | _FALSE:
        raise ConfigurationError(f"{variable}={environ[variable]!r} is neither true nor false: set it to one of them")
    return value in _TRUE
