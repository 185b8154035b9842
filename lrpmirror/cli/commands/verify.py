"""Compare a mirror with a fresh list, after following the BBS for a while.

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

import argparse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.cli.shared.arguments import add_bbs, seconds
from lrpmirror.cli.shared.following import following, passing
from lrpmirror.cli.shared.output import LineWriter
from lrpmirror.cli.shared.progress import Progress
from lrpmirror.cli.shared.story import decision_object, tag_text
from lrpmirror.core.rows.changes import Change, RowKey, row_key
from lrpmirror.errors import NotSynced, UnknownPath
from lrpmirror.mirror import Mirror
from lrpmirror.model import ActualLRP, DesiredLRP, ModificationTag
from lrpmirror.relay import Client

DIFFERENT: Final = 4  # the exit status where mirror and BBS differ
_PATIENCE: Final = 30.0  # seconds that the mirror has to become live again, where it is not at the end
GRACE: Final = 1.0  # seconds after a list in which events of before it may still come, and repair reads be done
ROUNDS: Final = 3  # how many lists are read at most. A record that keeps changing is compared with the last one too.

Kind = Literal["actual_lrp", "desired_lrp"]
Key = tuple[Kind, RowKey]
Record = ActualLRP | DesiredLRP
V = TypeVar("V", ActualLRP, DesiredLRP)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("--seconds", type=seconds, default=10.0, metavar="N", help="follow for N seconds before comparing (10)")
    add("--stream", choices=("instances", "groups"), default="instances", help="which stream to follow (%(default)s)")
    add_bbs(parser)


async def run(args: argparse.Namespace) -> int:
    """Verify, and print the result."""
    async with following(args, stream=args.stream) as (mirror, client):
        async with Progress(passing(args.seconds, lambda: f"revision {mirror.revision}")).shown():
            await trio.sleep(args.seconds)
        await _be_live(mirror)
        differences = await settled_differences(mirror, client)
        lines = [msgspec.json.encode(_object(mirror, key, pair)) for key, pair in differences]
        status = mirror.status
        summary = {
            "equal": not differences,
            "differences": len(differences),
            "actual_lrps": status.actual_lrps,
            "desired_lrps": status.desired_lrps,
            "revision": status.revision,
        }
    await LineWriter().write([*lines, msgspec.json.encode(summary)])
    return DIFFERENT if differences else 0


async def _be_live(mirror: Mirror) -> None:
    with trio.move_on_after(_PATIENCE):
        await mirror.wait_for(lambda one: one.status.live)
        return
    raise mirror.status.last_error or NotSynced(f"the mirror was not live again within {_PATIENCE:.0f} s")


class _Pair(Struct, frozen=True):
    """The mirror's record and the listed one; not both are None."""

    held: Record | None
    listed: Record | None

    @property
    def place(self) -> tuple[str, int | None]:
        """The process, and the index where it is of an instance."""
        one = self.held or self.listed
        return "" if one is None else one.process_guid, one.index if isinstance(one, ActualLRP) else None


async def settled_differences(mirror: Mirror, client: Client) -> list[tuple[Key, _Pair]]:
    """List everything and compare; what differs is compared with a second list, and reported only then.

    A record that the mirror has changed between the two comparisons, so that it may only be on its way again, is
    compared a third time. Raises BBSError and WireError.
    """
    suspects = await _compare(mirror, client)
    believed: dict[Key, _Pair] = {}
    for round_ in range(2, ROUNDS + 1):
        if not suspects:
            break
        found = await _compare(mirror, client)
        again = {key: pair for key, pair in found.items() if key in suspects}
        stood = {key for key, pair in again.items() if round_ == ROUNDS or pair.held == suspects[key].held}
        believed |= {key: again[key] for key in stood}
        suspects = {key: pair for key, pair in again.items() if key not in stood}
    return sorted(believed.items(), key=_order)


class _Held(Generic[V]):
    """The versions that the mirror has had of each changed record since this began; None is "not there"."""

    def __init__(self) -> None:
        self._versions: dict[Any, list[V | None]] = {}

    def take(self, change: Change[Any, V]) -> None:
        self._versions.setdefault(change.key, []).extend((change.before, change.after))

    def differing(self, now: Mapping[Any, V], listed: Mapping[Any, V]) -> Iterator[tuple[RowKey, _Pair]]:
        for key in dict.fromkeys((*now, *listed)):
            value, wanted = now.get(key), listed.get(key)
            if value != wanted and wanted not in self._versions.get(key, ()):
                yield key, _Pair(value, wanted)


async def _compare(mirror: Mirror, client: Client) -> dict[Key, _Pair]:
    rows: _Held[ActualLRP] = _Held()
    desired: _Held[DesiredLRP] = _Held()
    row_subscription = mirror.subscribe(rows.take, replay=False)
    desired_subscription = mirror.subscribe_desired(desired.take, replay=False)
    try:
        listed_rows = {row_key(row): row for row in await client.actual_lrps()}
        listed_desired = {lrp.process_guid: lrp for lrp in await _list_desired(client)}
        await trio.sleep(GRACE)
        # The changes still in their mailboxes: from here to the comparison nothing changes.
        for change in row_subscription.mailbox.take():
            rows.take(change)
        for lrp_change in desired_subscription.mailbox.take():
            desired.take(lrp_change)
    finally:
        row_subscription.cancel()
        desired_subscription.cancel()
    now = {row_key(row): row for row in mirror.actual_lrps()}
    now_desired = {lrp.process_guid: lrp for lrp in mirror.desired_lrps()}
    found: dict[Key, _Pair] = {("actual_lrp", key): pair for key, pair in rows.differing(now, listed_rows)}
    found |= {("desired_lrp", key): pair for key, pair in desired.differing(now_desired, listed_desired)}
    return found


async def _list_desired(client: Client) -> Iterable[DesiredLRP]:
    """List the desired LRPs as a mirror does: in two parts, or whole from a server that has no parts."""
    try:
        parts = {part.process_guid: part for part in await client.routing_infos()}
    except UnknownPath:
        return await client.desired_lrps()
    lrps = []
    for lrp in await client.scheduling_infos():
        part = parts.get(lrp.process_guid)
        same = part is not None and part.modification_tag == lrp.modification_tag
        lrps.append(replace(lrp, metric_tags=part.metric_tags) if part is not None and same else lrp)
    return lrps


def _object(mirror: Mirror, key: Key, pair: _Pair) -> dict[str, Any]:
    held, listed = pair.held, pair.listed
    process_guid, index = pair.place
    tags = tuple(None if side is None else side.modification_tag for side in (held, listed))
    fields: list[str] = []
    if held is not None and listed is not None:
        names = (ActualLRP if isinstance(held, ActualLRP) else DesiredLRP).__struct_fields__
        fields = [name for name in names if getattr(held, name) != getattr(listed, name)]
    now = mirror.status.at
    return {
        "kind": key[0],
        "process_guid": process_guid,
        **({} if index is None else {"index": index}),
        "difference": _kind_of_difference(*tags),
        "mirror": tag_text(tags[0]),
        "bbs": tag_text(tags[1]),
        "fields": fields,
        "decisions": [decision_object(decision, now) for decision in mirror.explain(process_guid)],
    }


def _kind_of_difference(held: ModificationTag | None, listed: ModificationTag | None) -> str:
    if held is None:
        return "missing"
    if listed is None:
        return "extra"
    if held.epoch != listed.epoch:
        return "replaced"
    if held.index == listed.index:
        return "content"
    return "behind" if held.index < listed.index else "ahead"


def _order(item: tuple[Key, _Pair]) -> tuple[str, str, int, str]:
    (kind, key), pair = item
    process_guid, index = pair.place
    return kind, process_guid, -1 if index is None else index, str(key)
