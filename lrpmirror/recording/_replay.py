"""Replaying a recording through the mirror's session: the lists, then every event."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.rows.changes import Commit, row_key
from lrpmirror.core.rows.groups import groups_of
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import RecordingError, RequestRefused
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.recording._reader import SNAPSHOT, Lists, Recording, StreamName

K = TypeVar("K")
V = TypeVar("V")


class Difference(Struct, frozen=True):
    """A record in which the end of a replay differs from a list; None on either side: not there."""

    kind: str  # `actual_lrp`, `actual_lrp_group` or `desired_lrp`
    key: Any  # A row's identity, a group's (process guid, index), or a process guid
    expected: Any
    got: Any


def replay(
    recording: Recording, *, stream: StreamName = "instances", lists: str | Path = SNAPSHOT, full: bool = False
) -> "Replay":
    """Return the replay of a recording: iterate over it for its commits, or `finish` it; then read its state.

    It begins with the lists of a folder (see `Recording.lists`) and applies all events of a stream. `full` keeps whole
    desired LRPs, secrets included, for which the folder has to have `desired_lrps.pb`. Domains and cells that it lacks
    are taken from `snapshot`. Raises RecordingError where lists cannot be read; iterating raises it for the stream.
    """
    return Replay(recording, recording.lists(lists), stream, full=full)


class Replay:
    """A replay in progress. Its state is what a mirror would show after the same traffic."""

    def __init__(self, recording: Recording, lists: Lists, stream: StreamName, *, full: bool) -> None:
        self.recording: Final = recording
        self.lists: Final = lists
        self.stream: Final = stream
        self.full: Final = full
        # The random source is never used: nothing is tried again.
        self.session: Final = Session(Tuning(), Random(0))  # noqa: S311 - not a secret
        self.events: Final[Counter[str]] = Counter()  # events applied so far, by type
        self.commits = 0  # commits made so far
        self._steps = self._run()

    def __iter__(self) -> Iterator[Commit]:
        """Continue where the last iteration stopped: the lists as one commit, then one for each event that counts."""
        return self._steps

    def finish(self) -> "Replay":
        """Apply all remaining events, and return the replay itself."""
        for _ in self:
            pass
        return self

    # Its state

    def actual_lrps(self) -> list[ActualLRP]:
        """Return the rows, by process guid, index and presence."""
        rows = self.session.knowledge.store.select(cell_id=None, state=None, domain=None)
        return sorted(rows, key=lambda row: (row.process_guid, row.index, row.presence, row.epoch))

    def actual_lrp_groups(self) -> list[ActualLRPGroup]:
        """Return the groups, by process guid and index."""
        store = self.session.knowledge.store
        return [group for guid in sorted(store.processes()) for group in groups_of(store.process(guid))]

    def desired_lrps(self) -> list[DesiredLRP]:
        """Return the desired LRPs, by process guid; with their `detail` where the replay is `full`."""
        found = self.session.knowledge.store.select_desired(app_guid=None, domain=None)
        return sorted(found, key=lambda lrp: lrp.process_guid)

    def domains(self) -> list[str]:
        """Return the fresh domains, sorted."""
        return sorted(self.session.knowledge.store.domains)

    def cells(self) -> list[CellPresence]:
        """Return the cells, by id; none where the recorded reply is a refusal."""
        return sorted(self.session.knowledge.cells, key=lambda cell: cell.cell_id)

    def differences(self, expected: Lists) -> list[Difference]:
        """Compare the state with the lists that a folder has, usually `expected`; empty where they agree.

        Internal routes and metric tags that the stream did not carry are no difference; domains and cells, which change
        without an event, are not compared. Raises RecordingError.
        """
        found: list[Difference] = []
        names = expected.names
        if "actual_lrps" in names:
            listed = {row_key(row): row for row in expected.actual_lrps()}
            rows = {row_key(row): self._filled(row, listed.get(row_key(row))) for row in self.actual_lrps()}
            found += _compare("actual_lrp", listed, rows)
        if "actual_lrp_groups" in names:
            groups = {_slot_of(group): group for group in expected.actual_lrp_groups()}
            made = {_slot_of(group): group for group in self.actual_lrp_groups()}
            filled = {slot: self._filled_group(group, groups.get(slot)) for slot, group in made.items()}
            found += _compare("actual_lrp_group", groups, filled)
        if "desired_lrps" in names:
            found += self._compare_desired(expected.desired_lrps(full=self.full))
        elif "desired_lrp_scheduling_infos" in names:
            found += self._compare_desired(expected.scheduling_infos(), with_tags=False)
        return found

    # Inside

    def _compare_desired(self, lrps: Iterable[DesiredLRP], *, with_tags: bool = True) -> list[Difference]:
        listed = {lrp.process_guid: lrp for lrp in lrps}
        own = self.desired_lrps() if with_tags else [replace(lrp, metric_tags={}) for lrp in self.desired_lrps()]
        return _compare("desired_lrp", listed, {lrp.process_guid: lrp for lrp in own})

    def _filled(self, row: ActualLRP, expected: ActualLRP | None) -> ActualLRP:
        """Return a row with the internal routes and metric tags that no event carried, from the expected row."""
        if expected is None:
            return row
        # Where a mirror would read the process again: a version has run since these two fields were known.
        unknown = RepairReason.INCOMPLETE in self.session.repairs.reasons_of(row.process_guid)
        return replace(
            row,
            internal_routes=expected.internal_routes if unknown or not row.internal_routes else row.internal_routes,
            metric_tags=expected.metric_tags if unknown or not row.metric_tags else row.metric_tags,
        )

    def _filled_group(self, group: ActualLRPGroup, expected: ActualLRPGroup | None) -> ActualLRPGroup:
        if expected is None:
            return group
        return ActualLRPGroup(
            None if group.instance is None else self._filled(group.instance, expected.instance),
            None if group.evacuating is None else self._filled(group.evacuating, expected.evacuating),
        )

    def _run(self) -> Iterator[Commit]:
        session = self.session
        session.stream_opened(0)
        pending = session.begin_list(0)
        self._list(pending)
        for _ in pending.settle():
            pass
        commit = session.end_list(pending, 0)
        if commit is not None:
            self.commits += 1
            yield commit
        for event in self.recording.events(self.stream, full=self.full):
            self.events[event.type] += 1
            for commit in session.events((event,), 0):
                self.commits += 1
                yield commit

    def _list(self, pending: PendingSnapshot) -> None:
        lists, snapshot = self.lists, Lists(self.recording.path / SNAPSHOT)
        try:
            self._list_rows(pending)
            self._list_desired(pending)
            domains = lists if "domains" in lists.names else snapshot
            pending.domains = frozenset(domains.domains() if "domains" in domains.names else ())
        except RequestRefused as exc:
            raise RecordingError(
                f"{lists.path} holds the BBS's refusal instead of a list ({exc}): replay from another folder"
            ) from exc
        # The cells come from another service, which can be down while the BBS is up.
        cells = lists if "cells" in lists.names else snapshot
        with suppress(RequestRefused):
            pending.cells = tuple(cells.cells()) if "cells" in cells.names else None

    def _list_rows(self, pending: PendingSnapshot) -> None:
        lists = self.lists
        if "actual_lrps" in lists.names or "actual_lrp_groups" not in lists.names:
            pending.list_rows(lists.actual_lrps())
        else:
            groups = lists.actual_lrp_groups()
            pending.list_rows(row for group in groups for row in (group.instance, group.evacuating) if row is not None)

    def _list_desired(self, pending: PendingSnapshot) -> None:
        lists, names = self.lists, self.lists.names
        if self.full:
            if not self.recording.about.secrets or "desired_lrps" not in names:
                raise RecordingError(
                    f"{lists.path} holds no whole desired LRPs: they are recorded only where secrets are asked for"
                )
            pending.list_desired(lists.desired_lrps(full=True))
        elif "desired_lrp_scheduling_infos" in names and "desired_lrp_routing_infos" in names:
            pending.list_desired(lists.scheduling_infos())
            pending.list_metric_tags(lists.routing_infos())
        else:
            pending.list_desired(lists.desired_lrps())


def _slot_of(group: ActualLRPGroup) -> tuple[str, int]:
    row = group.resolve()
    return row.process_guid, row.index


def _compare(kind: str, expected: Mapping[K, V], got: Mapping[K, V]) -> list[Difference]:
    keys = [*expected, *(key for key in got if key not in expected)]
    return [Difference(kind, key, expected.get(key), got.get(key)) for key in keys if expected.get(key) != got.get(key)]
