"""The state of a mirror in the form of a relay: its hashes, where the two differ, and the events of what is written."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, Final, Protocol, TypeVar

import trio
from msgspec.structs import replace

from lrpmirror import events
from lrpmirror.core.rows.changes import Delta, row_key
from lrpmirror.core.rows.tombstones import Tombstone, TombstoneTable
from lrpmirror.errors import WireError
from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP
from lrpmirror.relay._format import field_of
from lrpmirror.relay._pending import AT_ONCE, Batch, Pending, Step
from lrpmirror.wire import decode, encode

V = TypeVar("V")


class MirrorReads(Protocol):
    """The reads of the mirror that is published."""

    def actual_lrps(self, process_guid: str | None = None, /) -> tuple[ActualLRP, ...]:
        """Return the rows, or those of a process."""

    def desired_lrp(self, process_guid: str, /) -> DesiredLRP | None:
        """Return the desired LRP of a process."""

    def desired_lrps(self) -> tuple[DesiredLRP, ...]:
        """Return the desired LRPs."""


class Writes:
    """The writes of a transaction to one hash."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}  # what is written, by field
        self.remove: list[str] = []

    @property
    def any(self) -> bool:
        """Whether it does anything."""
        return bool(self.records or self.remove)

    @property
    def args(self) -> list[str | bytes]:
        """Fields and values to set, in turns, then fields to remove."""
        return [*(part for pair in self.records.items() for part in pair), *self.remove]

    def set(self, field: str, value: bytes | None) -> None:
        """Write a field, or remove it where there is no value."""
        if value is None:
            self.remove.append(field)
        else:
            self.records[field] = value


class Content:
    """The intended content of a relay's hashes, from the mirror."""

    def __init__(self, mirror: MirrorReads, pending: Pending, *, full: bool) -> None:
        self._mirror = mirror
        self._pending = pending
        self._full = full
        self._wanted: dict[str, dict[str, bytes]] = {"domains": {}, "cells": {}}
        """The intended content of the hashes of domains and cells, encoded once and not for each transaction."""
        self._written: dict[str, dict[str, bytes]] = {"domains": {}, "cells": {}}  # what is known to be there
        self._asked = self._written

    def set_domains(self, domains: Iterable[str]) -> None:
        """Have these domains written. O(domains)."""
        self._want("domains", {name: encode.domain(name) for name in domains})

    def set_cells(self, cells: Iterable[CellPresence]) -> None:
        """Have these cells written. O(cells)."""
        self._want("cells", {cell.cell_id: encode.cell_presence(cell) for cell in cells})

    def _want(self, name: str, fields: dict[str, bytes]) -> None:
        if fields != self._wanted[name]:
            self._wanted = {**self._wanted, name: fields}

    # What is to be written

    async def writes(self, batch: Batch | None) -> defaultdict[str, Writes]:
        """Return the writes of a batch to the hashes, with changed domains and cells; nothing without a batch."""
        out: defaultdict[str, Writes] = defaultdict(Writes)
        self._asked = self._written
        if batch is None:
            return out
        await self._write_records(batch, out)
        # By the mirror as it is now, which can be ahead of the batch: then it is written again with the next.
        for guid in batch.processes:
            out["processes"].set(guid, self._rows_of(guid))
        self._asked = self._wanted
        if self.small_differ:
            for name, wanted in self._wanted.items():
                there = self._written[name]
                for field in there.keys() | wanted.keys():
                    if there.get(field) != wanted.get(field):
                        out[name].set(field, wanted.get(field))
        return out

    async def _write_records(self, batch: Batch, out: Mapping[str, Writes]) -> None:
        for n, (field, row) in enumerate(batch.rows.items()):
            out["actual_lrps"].set(field, None if row.after is None else encode.actual_lrp(row.after))
            if n % AT_ONCE == AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
        for n, (guid, lrp) in enumerate(batch.desired.items()):
            for name, value in self._desired(lrp.after).items():
                out[name].set(guid, value)
            if n % AT_ONCE == AT_ONCE - 1:
                await trio.lowlevel.checkpoint()

    def written(self) -> None:
        """Record that the last writes have been made."""
        self._written = self._asked

    @property
    def small_differ(self) -> bool:
        """Whether domains or cells are to be written."""
        return self._written is not self._wanted and self._written != self._wanted

    def _rows_of(self, guid: str) -> bytes | None:
        fields = [field_of(row_key(row)) for row in self._mirror.actual_lrps(guid)]
        return "\n".join(fields).encode() if fields else None

    def _desired(self, lrp: DesiredLRP | None) -> dict[str, bytes | None]:
        if lrp is None:
            return dict.fromkeys(("scheduling_infos", "routing_infos", "desired_lrps"))
        return {
            "scheduling_infos": encode.scheduling_info(lrp),
            "routing_infos": encode.routing_info(lrp),
            "desired_lrps": encode.desired_lrp(lrp) if self._full else None,
        }

    # Where the two differ

    def compare(
        self, name: str, found: Mapping[bytes, bytes]
    ) -> dict[str, "Step[ActualLRP] | Step[DesiredLRP] | None"]:
        """Return which fields differ, but for pending ones, and the step of each; None: the field alone. O(slice)."""
        texts = {field.decode("utf-8", "replace"): value for field, value in found.items()}
        if name == "actual_lrps":
            return dict(self._compare_rows(texts))
        if name == "processes":
            waiting = self._pending.processes
            return {guid: None for guid, value in texts.items() if guid not in waiting and value != self._rows_of(guid)}
        if name in self._written:
            # Known as a whole now, so that the next transaction writes the difference.
            self._written = {**self._written, name: {**self._written[name], **texts}}
            return {}
        return dict(self._compare_desired(name, texts))

    def agrees(self, name: str, found: Mapping[bytes, bytes]) -> bool:
        """Return whether a slice of a hash is as intended, except for what is pending. O(slice)."""
        if name not in self._written:
            return not self.compare(name, found)
        there = self._written[name]
        return all(there.get(field.decode("utf-8", "replace")) == value for field, value in found.items())

    def lacking(self, name: str, seen: set[str]) -> Iterator[tuple[str, "Step[ActualLRP] | Step[DesiredLRP] | None"]]:
        """Return the steps for fields missing from a hash in which these were seen, without those that are pending."""
        if name == "actual_lrps":
            for row in self._mirror.actual_lrps():
                field = field_of(row_key(row))
                waiting = self._pending.rows.get(field)
                # One that was not recognised for what is under its field is to be removed so far.
                if (waiting is None and field not in seen) or (waiting is not None and waiting.after is None):
                    yield field, Step(None, row)
        elif name == "processes":
            for row in self._mirror.actual_lrps():
                if row.process_guid not in seen:
                    seen.add(row.process_guid)
                    yield row.process_guid, None
        elif name in {"scheduling_infos", "routing_infos"} or (name == "desired_lrps" and self._full):
            for lrp in self._mirror.desired_lrps():
                if lrp.process_guid not in seen and lrp.process_guid not in self._pending.desired:
                    yield lrp.process_guid, Step(None, lrp)

    def expect_nothing(self) -> None:
        """Record that the content of the hashes of domains and cells is unknown."""
        self._written = {"domains": {}, "cells": {}}

    def _compare_rows(self, found: Mapping[str, bytes]) -> Iterator[tuple[str, Step[ActualLRP]]]:
        rows = {
            field: _decoded(decode.actual_lrp, value)
            for field, value in found.items()
            if field not in self._pending.rows
        }
        guids = {row.process_guid for row in rows.values() if row is not None}
        mine = {field_of(row_key(row)): row for guid in guids for row in self._mirror.actual_lrps(guid)}
        for field, row in rows.items():
            wanted = mine.get(field)
            if wanted is None or encode.actual_lrp(wanted) != found[field]:
                yield field, Step(row, wanted)

    def _compare_desired(self, name: str, found: Mapping[str, bytes]) -> Iterator[tuple[str, Step[DesiredLRP]]]:
        for guid, value in found.items():
            if guid in self._pending.desired:
                continue
            wanted = self._mirror.desired_lrp(guid)
            if self._desired(wanted)[name] != value:
                yield guid, Step(_decoded(_DECODERS[name], value), wanted)


_DECODERS: Final[Mapping[str, Callable[[bytes], DesiredLRP]]] = {
    "scheduling_infos": decode.scheduling_info,
    "routing_infos": decode.desired_lrp,
    "desired_lrps": partial(decode.desired_lrp, full=True),
}


def _decoded(decoder: Callable[[bytes], V], value: bytes) -> V | None:
    try:
        return decoder(value)
    except WireError:
        return None


LIMIT: Final = 200_000  # how many records are remembered that were sent as removed: as many as a mirror does
AGE: Final = 900.0  # for how many seconds, as a mirror does
FOREVER: Final = 2**32  # an index that no version reaches: a desired LRP never comes back under its epoch

Change = Delta[Any, V] | Step[V]  # of a record, from what was sent last to what is sent


class AnnouncedVersions:
    """The versions in which records were sent as removed, by epoch. O(changes) for each commit."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything: no present subscriber has got any of it."""
        self._gone = TombstoneTable(limit=LIMIT, age=AGE)

    def advance(self, now: float) -> None:
        """Forget what is too old. `now` is in seconds."""
        self._gone.advance(now)

    def contradicts(self, rows: Iterable[Change[ActualLRP]], desired: Iterable[Change[DesiredLRP]]) -> bool:
        """Record what is about to be sent; return whether a record comes back as it was removed, or is older.

        A mirror accepts neither from an event, and has to list anew.
        """
        back = False
        for row in rows:
            back |= self._is_back(row)
            if row.before is not None and row.after is None and row.before.epoch:
                self._gone.add(row.before.epoch, Tombstone(row.before.tag_index))
        for lrp in desired:
            back |= self._is_back(lrp)
            before, after = lrp.before, lrp.after
            if before is not None and before.epoch and (after is None or after.epoch != before.epoch):
                self._gone.add(before.epoch, Tombstone(FOREVER))
        return back

    def _is_back(self, record: Change[ActualLRP] | Change[DesiredLRP]) -> bool:
        before, after = record.before, record.after
        if after is None or not after.epoch:
            return False
        if before is not None and before.epoch == after.epoch:
            return after.tag_index < before.tag_index
        tombstone = self._gone.get(after.epoch)
        self._gone.discard(after.epoch)
        return tombstone is not None and after.tag_index <= tombstone.index


Payloads = list[tuple[str, bytes]]

_REMOVALS: Final = (events.ActualLRPInstanceRemoved.type, events.DesiredLRPRemoved.type)


class EventMaker:
    """Makes events of steps, and remembers the removals it has sent for as long as a mirror does.

    A whole record is sent as `created`, new or the next version, since a mirror believes it without asking again, where
    a diff leaves something out. A presence that changes without a version is a `changed`.
    """

    def __init__(self) -> None:
        self._announced_versions = AnnouncedVersions()

    def forget(self) -> None:
        """Forget all removals: every reader lists anew from here on."""
        self._announced_versions.clear()

    async def tell(self, batch: Batch, rows: Writes, now: float) -> Payloads | None:
        """Return the events of a batch, removals first and crashes last; None where no event can express it.

        Then every reader has to list anew. `rows` are the encoded rows that are written. O(batch).
        """
        self._announced_versions.advance(now)
        if self._announced_versions.contradicts(batch.rows.values(), batch.desired.values()):
            self.forget()
            return None
        told: Payloads = []
        made = chain(
            map(_desired_events, batch.desired.values()),
            (_row_events(step, rows.records.get(field, b"")) for field, step in batch.rows.items()),
        )
        for n, payloads in enumerate(made):
            told += payloads
            if n % AT_ONCE == AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
        told.sort(key=lambda payload: payload[0] not in _REMOVALS)
        return told + [_payload(crash) for crash in batch.crashes]


def _payload(event: events.Event) -> tuple[str, bytes]:
    return event.type, encode.event(event)


def _row_events(step: Step[ActualLRP], record: bytes) -> Payloads:
    before, after = step.before, step.after
    if after is None:
        return [] if before is None else [_payload(events.ActualLRPInstanceRemoved(before))]
    told: Payloads = []
    if before is not None and after.epoch and after.tag_index == before.tag_index and after.presence != before.presence:
        told.append(_payload(events.ActualLRPInstanceChanged(before, after)))
        before = replace(before, presence=after.presence)
    if before != after:
        # The event has the record as its first field and nothing else, as a reply has it as its second.
        told.append((events.ActualLRPInstanceCreated.type, encode.reply([record], record_field=1)))
    return told


def _desired_events(step: Step[DesiredLRP]) -> Payloads:
    before, after = step.before, step.after
    told: Payloads = []
    if before is not None and (after is None or after.epoch != before.epoch):
        told.append(_payload(events.DesiredLRPRemoved(before)))
        before = None
    if after is not None and before != after:
        told.append(_payload(events.DesiredLRPCreated(after)))
    return told
