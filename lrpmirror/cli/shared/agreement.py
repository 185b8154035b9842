"""Compares a mirror with its simulator."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from msgspec.structs import replace

from lrpmirror.core.rows.changes import row_key
from lrpmirror.errors import NotSeen
from lrpmirror.mirror import Mirror
from lrpmirror.model import ActualLRP
from lrpmirror.sim import Diego

_PATIENCE: Final = 5.0
"""Seconds that the mirror has to catch up, and to list once more."""


def disagreements(mirror: Mirror, diego: Diego, *, listed: bool) -> list[str]:
    """Name the rows and desired LRPs in which the two differ; with `listed`, domains and cells too.

    Unless it has just `listed`, a mirror may lack internal routes and metric tags, which the stream does not carry, and
    can know nothing of domains and cells, about which there are no events. O(rows + desired LRPs).
    """
    rows = {str(row_key(row)): row for row in diego.actual_lrps()}
    seen = {str(row_key(row)): row for row in mirror.actual_lrps()}
    if not listed:
        seen = {key: _filled(row, rows.get(key)) for key, row in seen.items()}
    wanted = {lrp.process_guid: replace(lrp, detail=None) for lrp in diego.desired_lrps()}
    found = _differing("row", rows, seen)
    found += _differing("desired LRP", wanted, {lrp.process_guid: lrp for lrp in mirror.desired_lrps()})
    if listed:
        found += _differing("domain", _by_itself(diego.domains()), _by_itself(mirror.domains))
        cells = {cell.cell_id: cell for cell in diego.cells()}
        found += _differing("cell", cells, {cell.cell_id: cell for cell in mirror.cells})
    return found


async def settled_disagreements(mirror: Mirror, diego: Diego) -> list[str]:
    """Compare once the mirror has caught up with a paused simulator: by the stream, then by a new list."""
    with suppress(NotSeen):
        await mirror.wait_for(lambda one: one.status.live and not disagreements(one, diego, listed=False), _PATIENCE)
    followed = disagreements(mirror, diego, listed=False)
    if followed or not mirror.status.live:
        return followed or [f"the mirror is {mirror.status.phase.name}: {mirror.status.last_error}"]
    before = mirror.status.synced_at
    mirror.resync()
    with suppress(NotSeen):
        await mirror.wait_for(lambda one: one.status.synced_at != before, _PATIENCE)
    return disagreements(mirror, diego, listed=True)


def _filled(row: ActualLRP, expected: ActualLRP | None) -> ActualLRP:
    if expected is None:
        return row
    return replace(
        row,
        internal_routes=row.internal_routes or expected.internal_routes,
        metric_tags=row.metric_tags or expected.metric_tags,
    )


def _by_itself(names: Iterable[str]) -> dict[str, str]:
    return {name: name for name in names}


def _differing(kind: str, expected: Mapping[str, object], got: Mapping[str, object]) -> list[str]:
    return [f"{kind} {key}" for key in sorted(expected.keys() | got.keys()) if expected.get(key) != got.get(key)]
