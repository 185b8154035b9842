"""The events of a step, for the stream of changes: they lead a mirror from the state before it to the state after.

A whole record is sent as `created`, whether it is new or the next version, since a mirror believes a whole record of a
newer version without asking again; a diff leaves something out. A presence that changes without a version is a
`changed`. The records in the hashes and the payloads of events are the same protobuf messages.
"""

from typing import Final

import trio
from msgspec.structs import replace

from lrpmirror.core.rows.tombstones import Tombstone, TombstoneTable
from lrpmirror.events import (
    ActualLRPCrashed,
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    DesiredLRPCreated,
    DesiredLRPRemoved,
)
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.relay._content import Writes
from lrpmirror.relay._pending import AT_ONCE, Batch, Step
from lrpmirror.wire import encode

LIMIT: Final = 200_000
AGE: Final = 900.0
FOREVER: Final = 2**32
"""An index that no version reaches: a desired LRP never comes back under its epoch."""

Payloads = list[tuple[str, bytes]]


class EventMaker:
    """Makes events of steps, and remembers the removals it has sent for as long as a mirror does."""

    def __init__(self) -> None:
        self._gone = TombstoneTable(limit=LIMIT, age=AGE)

    def forget(self) -> None:
        """Forget all removals: every reader lists anew from here on."""
        self._gone = TombstoneTable(limit=LIMIT, age=AGE)

    async def tell(self, batch: Batch, rows: Writes, now: float) -> Payloads | None:
        """Return the events of a batch, removals first and crashes last; None where no event can express it.

        That is where a record goes back to an older version, or is back after its removal was sent: a mirror accepts
        neither from an event, and has to list anew. `rows` are the encoded rows that are written. O(batch).
        """
        self._gone.advance(now)
        removed: Payloads = []
        written: Payloads = []
        tellable = True
        for n, lrp in enumerate(batch.desired.values()):
            tellable = self._desired(lrp, removed, written) and tellable
            if n % AT_ONCE == AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
        for n, (field, row) in enumerate(batch.rows.items()):
            tellable = self._row(row, rows.records.get(field, b""), removed, written) and tellable
            if n % AT_ONCE == AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
        crashes = [(ActualLRPCrashed.type, encode.event(crash)) for crash in batch.crashes]
        return removed + written + crashes if tellable else None

    def _row(self, step: Step[ActualLRP], record: bytes, removed: Payloads, written: Payloads) -> bool:
        before, after = step.before, step.after
        if after is None:
            if before is not None:
                removed.append((ActualLRPInstanceRemoved.type, encode.event(ActualLRPInstanceRemoved(before))))
                if before.epoch:
                    self._gone.add(before.epoch, Tombstone(before.tag_index))
            return True
        tombstone = self._gone.get(after.epoch)
        self._gone.discard(after.epoch)
        if after.epoch and tombstone is not None and after.tag_index <= tombstone.index:
            return False
        if before is not None and after.epoch:
            if after.tag_index < before.tag_index:
                return False
            if after.tag_index == before.tag_index and after.presence != before.presence:
                moved = ActualLRPInstanceChanged(before, after)
                written.append((moved.type, encode.event(moved)))
                before = replace(before, presence=after.presence)
        if before != after:
            # The event has the record as its first field and nothing else, as a reply has it as its second.
            written.append((ActualLRPInstanceCreated.type, encode.reply([record], record_field=1)))
        return True

    def _desired(self, step: Step[DesiredLRP], removed: Payloads, written: Payloads) -> bool:
        before, after = step.before, step.after
        if before is not None and (after is None or after.epoch != before.epoch):
            removed.append((DesiredLRPRemoved.type, encode.event(DesiredLRPRemoved(before))))
            if before.epoch:
                self._gone.add(before.epoch, Tombstone(FOREVER))
            before = None
        if after is None or before == after:
            return True
        if after.epoch in self._gone:
            self._gone.discard(after.epoch)
            return False
        if before is not None and after.epoch and after.tag_index < before.tag_index:
            return False
        written.append((DesiredLRPCreated.type, encode.event(DesiredLRPCreated(after))))
        return True
