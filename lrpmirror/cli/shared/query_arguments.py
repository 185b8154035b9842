"""The filters of the queries, as options and, for what a mirror knows, as predicates; named as in Diego's own tool."""

import argparse
from collections.abc import Callable
from typing import Final

from lrpmirror.errors import ConfigurationError
from lrpmirror.model import ActualLRP, DesiredLRP

_MOST: Final = 2**31 - 1


def by_domain(parser: argparse.ArgumentParser) -> None:
    """Add --domain."""
    parser.add_argument("-d", "--domain", default="", metavar="NAME", help="only those of this domain")


def by_cell(parser: argparse.ArgumentParser) -> None:
    """Add --cell-id."""
    parser.add_argument("-c", "--cell-id", default="", metavar="ID", help="only those on this cell")


def by_process(parser: argparse.ArgumentParser) -> None:
    """Add --process-guid, once."""
    parser.add_argument("-p", "--process-guid", default="", metavar="GUID", help="only those of this process")


def by_index(parser: argparse.ArgumentParser) -> None:
    """Add --index."""
    parser.add_argument("-i", "--index", type=_index, metavar="N", help="only those of this index")


def by_processes(parser: argparse.ArgumentParser) -> None:
    """Add --process-guid, as often as wanted."""
    parser.add_argument(
        "-p",
        "--process-guid",
        action="append",
        default=[],
        metavar="GUID",
        help="only those of this process; may be given several times",
    )


def by_app(parser: argparse.ArgumentParser) -> None:
    """Add --app-guid, as often as wanted."""
    parser.add_argument(
        "-a",
        "--app-guid",
        action="append",
        default=[],
        metavar="GUID",
        help="only those whose process guid begins with this; may be given several times",
    )


def one_process(parser: argparse.ArgumentParser) -> None:
    """Add the process as the argument."""
    parser.add_argument("process_guid", metavar="PROCESS_GUID", help="the process")


def row_wanted(args: argparse.Namespace) -> Callable[[ActualLRP], bool]:
    """Return what the filters of rows let pass."""
    domain, cell_id, process_guid, index = args.domain, args.cell_id, args.process_guid, args.index

    def wanted(row: ActualLRP) -> bool:
        return (
            (not domain or row.domain == domain)
            and (not cell_id or row.cell_id == cell_id)
            and (not process_guid or row.process_guid == process_guid)
            and (index is None or row.index == index)
        )

    return wanted


def rows_of_groups_wanted(args: argparse.Namespace) -> Callable[[ActualLRP], bool]:
    """Return which rows the filters of groups let pass: the server makes the groups of what passes."""
    group_filters(args)
    return row_wanted(args)


def group_filters(args: argparse.Namespace) -> dict[str, str]:
    """Return the filters of a list of groups; raises ConfigurationError where the server could not combine them."""
    if args.index is not None and not args.process_guid:
        raise ConfigurationError("--index is of a process: give --process-guid too")
    if args.process_guid and (args.domain or args.cell_id):
        raise ConfigurationError(
            "the BBS cannot combine --process-guid with --domain or --cell-id for groups: leave one of them out"
        )
    return {"domain": args.domain, "cell_id": args.cell_id}


def desired_wanted(args: argparse.Namespace) -> Callable[[DesiredLRP], bool]:
    """Return what the filters of desired LRPs let pass."""
    domain, guids, prefixes = args.domain, frozenset(args.process_guid), tuple(args.app_guid)

    def wanted(lrp: DesiredLRP) -> bool:
        return (
            (not domain or lrp.domain == domain)
            and (not guids or lrp.process_guid in guids)
            and (not prefixes or lrp.process_guid.startswith(prefixes))
        )

    return wanted


def _index(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is not an index: 0 or more")
    return int(text)
