"""Every version that the server ever had, recorded as it is written: what a mirror may show, and nothing else."""

from collections import deque

from msgspec.structs import replace

from lrpmirror.core.rows.changes import RowKey, row_key
from lrpmirror.model import EMPTY, ActualLRP, DesiredLRP
from lrpmirror.redaction import without_secrets
from lrpmirror.sim import Backup, Diego, Snapshot

__all__ = ["History", "bare"]

KEPT: int = 10
"""How many past states are kept, one a second."""


def bare(row: ActualLRP) -> ActualLRP:
    """Return the row without what the diffs of the instance stream do not carry."""
    return replace(row, internal_routes=(), metric_tags=EMPTY)


class History:
    """Every version of every record of a Diego, and its latest states as a whole."""

    def __init__(self, diego: Diego) -> None:
        self._diego = diego
        self._rows: dict[tuple[str, int], list[ActualLRP]] = {}
        # A server that was set back writes a version again, with other contents.
        self._desired: dict[tuple[str, int], list[DesiredLRP]] = {}
        self._carried: dict[str, list[object]] = {}
        self._past: deque[tuple[float, Snapshot]] = deque(maxlen=KEPT)
        self._backups: deque[tuple[float, Backup]] = deque(maxlen=KEPT)
        diego.on_write(self._write)
        for row in diego.actual_lrps():
            self._write(row)
        for lrp in diego.desired_lrps():
            self._write(lrp)

    def _write(self, record: ActualLRP | DesiredLRP) -> None:
        if isinstance(record, DesiredLRP):
            self._desired.setdefault((record.epoch, record.tag_index), []).append(replace(record, detail=None))
            return
        self._rows.setdefault((record.epoch, record.tag_index), []).append(bare(record))
        parts = self._carried.setdefault(record.process_guid, [])
        if (part := (record.internal_routes, record.metric_tags)) not in parts:
            parts.append(part)

    def had_row(self, row: ActualLRP) -> bool:
        """Return whether the server ever had this version of the row, in this presence.

        Internal routes and metric tags may be those of another version of the process's rows, or none: the diffs do not
        carry them.
        """
        carried: object = (row.internal_routes, row.metric_tags)
        known = carried in self._carried.get(row.process_guid, ()) or not (row.internal_routes or row.metric_tags)
        return known and bare(row) in self._rows.get((row.epoch, row.tag_index), ())

    def row_keys(self) -> set[RowKey]:
        """Return the identities of the rows that the server has now."""
        return {row_key(row) for row in self._diego.actual_lrps()}

    def had_desired(self, lrp: DesiredLRP) -> bool:
        """Return whether the server ever had this version of the desired LRP.

        It may lack its metric tags: they come with a second list, which can be empty where the first one was not. And
        it may lack what a state file does not keep.
        """
        for known in self._desired.get((lrp.epoch, lrp.tag_index), ()):
            tagged = known if lrp.metric_tags else replace(known, metric_tags=EMPTY)
            if lrp in (tagged, without_secrets(tagged)):
                return True
        return False

    def remember(self, now: float) -> None:
        """Keep the state of this moment."""
        self._past.append((now, self._diego.snapshot()))
        self._backups.append((now, self._diego.backup()))

    def set_back(self, moment: float) -> None:
        """Set the server's database back to a moment: the last one kept before it, or the first."""
        kept = [backup for at, backup in self._backups if at <= moment] or [backup for _, backup in self._backups][:1]
        if kept:
            self._diego.restore(kept[-1])

    def past(self, moment: float) -> Diego:
        """Return a Diego frozen in the state of a moment: the last one kept before it, or the first."""
        kept = [snapshot for at, snapshot in self._past if at <= moment] or [s for _, s in self._past][:1]
        still = Diego()
        if kept:
            still.adopt(kept[-1].actual_lrps, kept[-1].desired_lrps)
            for name in kept[-1].domains:
                still.upsert_domain(name)
            for cell in kept[-1].cells:
                still.add_cell(cell)
        return still
