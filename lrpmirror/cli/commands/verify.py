"""`lrpmirror verify`: whether a mirror has what the BBS has."""

import argparse
from typing import Any, Final

import msgspec
import trio

from lrpmirror.cli.shared import bbs
from lrpmirror.cli.shared.arguments import seconds
from lrpmirror.cli.shared.following import following
from lrpmirror.cli.shared.output import LineWriter
from lrpmirror.cli.shared.progress import showing
from lrpmirror.cli.shared.verification import Difference, settled_differences
from lrpmirror.cli.shared.words import decision_object, tag_text
from lrpmirror.errors import NotSynced
from lrpmirror.mirror import Mirror

HELP: Final = "compare a mirror with a fresh list, after following the BBS for a while"

DESCRIPTION: Final = """\
Open a mirror of the BBS, follow its events for --seconds, then list everything
afresh and compare. What is on its way is accounted for: a listed record may be
any version that the mirror had while the list was read, or a second later; and
only what still differs from a second list is a difference.

Prints a JSON object a line for each difference:
  {"kind": "actual_lrp" | "desired_lrp", "process_guid", "index", "difference",
   "mirror": TAG, "bbs": TAG, "fields": [names of what differs], "decisions"}
where "difference" is one of
  missing   the BBS lists it and the mirror has not got it
  extra     the mirror has it and the BBS does not list it
  behind    the mirror has an older version than the BBS lists
  ahead     the mirror has a newer version than the BBS lists
  replaced  they have different records of the same process
  content   they have the same version with other contents
and "decisions" is what became of the latest events about that process, as in
`lrpmirror explain`. Then one object that sums up, with "equal".

The stream tells of neither domains nor cells, and the mirror's are as old as its
last list by design: they are not compared.

The exit status is 4 where there are differences.
"""

DIFFERENT: Final = 4
"""The exit status where mirror and BBS differ."""

_PATIENCE: Final = 30.0
"""Seconds that the mirror has to become live again, where it is not at the end."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--seconds", type=seconds, default=10.0, metavar="N", help="follow for N seconds before comparing (10)"
    )
    parser.add_argument(
        "--stream", choices=("instances", "groups"), default="instances", help="which stream to follow (%(default)s)"
    )
    bbs.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Verify, and print the result."""
    return DIFFERENT if trio.run(_verify, args) else 0


async def _verify(args: argparse.Namespace) -> bool:
    async with following(args, stream=args.stream) as (mirror, client):
        began = trio.current_time()

        def progress() -> str:
            passed = trio.current_time() - began
            return f"following: {passed:.0f} of {args.seconds:.0f} s, revision {mirror.revision}"

        async with showing(progress):
            await trio.sleep(args.seconds)
        await _be_live(mirror)
        differences = await settled_differences(mirror, client)
        lines = [msgspec.json.encode(_object(mirror, one)) for one in differences]
        status = mirror.status
        summary = {
            "equal": not differences,
            "differences": len(differences),
            "actual_lrps": status.actual_lrps,
            "desired_lrps": status.desired_lrps,
            "revision": status.revision,
        }
    await LineWriter().write([*lines, msgspec.json.encode(summary)])
    return bool(differences)


async def _be_live(mirror: Mirror) -> None:
    with trio.move_on_after(_PATIENCE):
        await mirror.wait_for(lambda one: one.status.live)
        return
    raise mirror.status.last_error or NotSynced(f"the mirror was not live again within {_PATIENCE:.0f} s")


def _object(mirror: Mirror, one: Difference) -> dict[str, Any]:
    now = mirror.status.at
    return {
        "kind": one.kind,
        "process_guid": one.process_guid,
        **({} if one.index is None else {"index": one.index}),
        "difference": one.difference,
        "mirror": tag_text(one.mirror),
        "bbs": tag_text(one.bbs),
        "fields": one.fields,
        "decisions": [decision_object(decision, now) for decision in mirror.explain(one.process_guid)],
    }
