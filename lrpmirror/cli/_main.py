"""The command's arguments, and its errors as exit statuses.

A command is a module of its name, as `Command` describes it; to add one is to add it to _MODULES.
"""

import argparse
import gc
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from inspect import iscoroutinefunction
from typing import Any, Final, NoReturn

import trio

from lrpmirror import errors
from lrpmirror.cli import top
from lrpmirror.cli.commands import (
    completion,
    demo,
    explain,
    lrp_events,
    publish,
    query,
    record,
    replay,
    routes,
    serve,
    sim,
    verify,
)
from lrpmirror.cli.shared.arguments import Command
from lrpmirror.cli.shared.output import flush, open_streams, say, why_unwritten
from lrpmirror.client import InsecureTLSWarning

_MODULES: Final = (lrp_events, routes, explain, top, verify, record, replay, demo, sim, serve, publish, completion)

COMMANDS: Final[Mapping[str, Command]] = {
    **query.COMMANDS,
    **{
        module.__name__.rpartition(".")[2].replace("_", "-"): Command(
            module.__doc__ or "", module.configure, module.run
        )
        for module in _MODULES
    },
}

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
BAD_RECORDING: Final = 3
INTERRUPTED: Final = 130
OUTPUT_CLOSED: Final = 141

DESCRIPTION: Final = """\
An in-memory mirror of a Cloud Foundry Diego BBS: ask the BBS, watch it, explain
what the mirror makes of it, record its traffic, replay recordings, see it work.
"""

EPILOG: Final = """\
exit status:
  0    done; what goes on until it is interrupted (`record`, `demo`, `sim`,
       `serve`, `publish`, `lrp-events`, and --watch) is done then
  1    the BBS refused, failed or could not be reached, or there is nothing of
       what was asked for; or the demo's mirror did not agree with its simulator
  2    an argument, environment variable or certificate file cannot be used
  3    a recording cannot be read or written
  4    `verify` found differences
  130  interrupted (Ctrl-C) before it was done
  141  the output was closed before everything was printed

Errors are one line on stderr; stdout has results only.
"""

_REMEDIES: Final[Mapping[type[errors.LRPMirrorError], str]] = {
    errors.RelayUnreachable: "is Redis running, and the URL right?",
    errors.TLSFailed: "see --ca-cert-file, --client-cert-file and --client-key-file",
    errors.ConnectionFailed: "is the BBS running, and --bbs-url right?",
    errors.TimedOut: "is --bbs-url right, and the BBS reachable from here?",
    errors.UnexpectedReply: "is --bbs-url that of a BBS?",
}
"""Advice for errors that only say what happened; a subclass stands before its base."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: {message}; see '{self.prog} --help'")
        raise SystemExit(USAGE)

    def _print_message(self, message: str, file: Any = None) -> None:
        # That of argparse passes over what cannot be written.
        print(message, end="", file=file)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (default: the process's), and return its exit status.

    Results go to stdout, everything else to stderr.
    """
    open_streams()
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as exc:
        # --help and --version have printed what was asked for, or there was an error.
        return _flushed("lrpmirror", OK if not exc.code else USAGE)
    except OSError as exc:
        return _flushed("lrpmirror", _explain("lrpmirror", exc) or FAILED)
    name = f"lrpmirror {args.command}"
    if argv is None:
        # The process is the command's own: full runs of the collector need not look at what was imported.
        gc.freeze()
    try:
        with warnings.catch_warnings():
            # The commands say it in their own way, without a line of source code.
            warnings.simplefilter("ignore", InsecureTLSWarning)
            run: Any = COMMANDS[args.command].run
            status: int = (trio.run(run, args) if iscoroutinefunction(run) else run(args)) or OK
    except BaseException as exc:
        status_of_error = _explain(name, exc)
        if status_of_error is None:
            raise
        return _flushed(name, status_of_error)
    return _flushed(name, status)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command, with all commands in it."""
    parser = _Parser(
        prog="lrpmirror",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"lrpmirror {version('lrpmirror')}")
    # For who asks about the command itself: see `completion`.
    parser.set_defaults(parser=parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for name, command in COMMANDS.items():
        summary = command.description.partition("\n")[0].rstrip(".")
        subparser = commands.add_parser(
            name,
            help=summary[:1].lower() + summary[1:],
            description=command.description,
            epilog="The exit statuses are in 'lrpmirror --help'.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.configure(subparser)
    return parser


def _explain(name: str, error: BaseException) -> int | None:
    """Print the error in one line, and return the exit status; None for a bug of the program itself."""
    found = list(_leaves(error))
    if any(isinstance(one, BrokenPipeError) for one in found):
        return OUTPUT_CLOSED
    if any(isinstance(one, KeyboardInterrupt) for one in found):
        return INTERRUPTED
    unwritten = next(filter(None, map(why_unwritten, found)), "")
    if unwritten:
        say(f"{name}: stdout cannot be written: {unwritten}")
        return FAILED
    ours = [one for one in found if isinstance(one, errors.LRPMirrorError)]
    if len(ours) < len(found):
        return None
    first = ours[0]
    remedy = next((f"; {text}" for kind, text in _REMEDIES.items() if isinstance(first, kind)), "")
    if isinstance(first, errors.RequestRefused) and first.type == "UnknownError":
        # Others say why themselves.
        remedy = "; the BBS's own log says why"
    # What a server sent may be in it, and a line is to stay a line.
    text = " ".join(f"{first}{remedy}".split())
    say(f"{name}: {text}")
    if isinstance(first, errors.ConfigurationError):
        return USAGE
    return BAD_RECORDING if isinstance(first, errors.RecordingError) else FAILED


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _flushed(name: str, status: int) -> int:
    """Flush the output; return the exit status, which is another where that fails."""
    error = flush()
    if isinstance(error, BrokenPipeError):
        return OUTPUT_CLOSED
    if error is not None and status != FAILED:
        say(f"{name}: stdout cannot be written: {why_unwritten(error) or error.strerror}")
        return FAILED
    return status
