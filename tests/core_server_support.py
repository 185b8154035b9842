"""A small model of a BBS, for the laws: rows by slot, random operations, and the events that each of them sends.

Each operation returns groups of events: within a group the order is kept, groups race each other.
"""

from random import Random

from core_support import CLAIMED, CRASHED, EVACUATING, ORDINARY, RUNNING, SUSPECT, UNCLAIMED, bare, changed
from msgspec.structs import replace

from lrpmirror.core.rows.changes import RowKey
from lrpmirror.events import (
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
)
from lrpmirror.model import ActualLRP, DesiredLRP, Presence

__all__ = ["Group", "Server", "changes_presence"]

Group = list[Event]
Slot = tuple[str, int, Presence]

GUIDS = ("p", "q", "r")
INDEXES = 1
CELLS = ("cell-a", "cell-b", "cell-c")


class Server:
    """Rows and desired LRPs as a BBS keeps them. `step` does one random operation that is allowed now."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._names = 0
        self._now = 0
        self.rows: dict[Slot, ActualLRP] = {}
        self.desired: dict[str, DesiredLRP] = {}
        self.lost: set[str] = set()
        self.exact = False
        """Whether to leave out what cannot be told apart: removals told as of an older version, restarts of CRASHED."""
        self.history: dict[RowKey, list[ActualLRP]] = {}
        """Every version of every row that there ever was, without what diffs do not carry."""

    def list_rows(self) -> list[ActualLRP]:
        return list(self.rows.values())

    def list_desired(self) -> list[DesiredLRP]:
        return list(self.desired.values())

    def step(self) -> list[Group]:
        self._now += 1
        guid, index = self._rng.choice(GUIDS), self._rng.randrange(INDEXES)
        operations = (
            self.desire,
            self._claim,
            self._claim,
            self._start,
            self._start,
            self._start,
            self._crash,
            self._crash,
            self._fail,
            self._remove,
            self._retire_old,
            self._evacuate,
            self._evacuate,
            self._leave_evacuating,
            self._unclaim,
            self._lose_or_find,
            self._lose_or_find,
            self._restart,
        )
        return self._rng.choice(operations)(guid, index)

    # Writes

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}{self._names}"

    def _put(self, one: ActualLRP) -> ActualLRP:
        self.rows[one.process_guid, one.index, one.presence] = one
        self.history.setdefault(one.epoch, []).append(bare(one))
        return one

    def _drop(self, one: ActualLRP) -> ActualLRP:
        del self.rows[one.process_guid, one.index, one.presence]
        return one

    def _next(self, one: ActualLRP, **fields: object) -> ActualLRP:
        return self._put(replace(one, tag_index=one.tag_index + 1, since=self._now, **fields))

    def _new(self, guid: str, index: int, **fields: object) -> ActualLRP:
        fresh = ActualLRP(process_guid=guid, index=index, domain="apps", since=self._now, epoch=self._name("e"))
        return self._put(replace(fresh, **fields))

    def _freed(self, one: ActualLRP, **fields: object) -> ActualLRP:
        return self._next(one, state=UNCLAIMED, instance_guid="", cell_id="", address="", **fields)

    def _instance(self) -> dict[str, str]:
        cells = [cell for cell in CELLS if cell not in self.lost] or ["cell-z"]
        return {"instance_guid": self._name("i"), "cell_id": self._rng.choice(cells)}

    def _at(self, guid: str, index: int, presence: Presence = ORDINARY) -> ActualLRP | None:
        return self.rows.get((guid, index, presence))

    # Operations

    def desire(self, guid: str, _index: int) -> list[Group]:
        known = self.desired.get(guid)
        if known is None:
            lrp = DesiredLRP(process_guid=guid, domain="apps", instances=INDEXES, epoch=self._name("d"))
            self.desired[guid] = lrp
            missing = [at for at in range(INDEXES) if self._at(guid, at) is None]
            groups: list[Group] = [[DesiredLRPCreated(lrp)]]
            groups += [[ActualLRPInstanceCreated(self._new(guid, at))] for at in missing]
            return groups
        if self._rng.random() < 0.7:
            lrp = replace(known, tag_index=known.tag_index + 1, annotation=f"at {self._now}")
            self.desired[guid] = lrp
            return [[DesiredLRPChanged(known, lrp)]]
        del self.desired[guid]
        groups = [[DesiredLRPRemoved(known)]]
        for at in range(INDEXES):
            one = self._at(guid, at)
            if one is not None and one.state in (UNCLAIMED, CRASHED):
                groups.append([ActualLRPInstanceRemoved(self._drop(one))])
        return groups

    def _claim(self, guid: str, index: int) -> list[Group]:
        one = self._at(guid, index)
        if one is None or one.state != UNCLAIMED:
            return []
        after = self._next(one, state=CLAIMED, placement_error="", **self._instance())
        return [[changed(one, after)]]

    def _start(self, guid: str, index: int) -> list[Group]:
        one = self._at(guid, index)
        new = {
            "state": RUNNING,
            "placement_error": "",
            "address": f"10.0.0.{self._rng.randrange(3)}",
            "routable": self._rng.random() < 0.8,
        }
        if one is None:
            fields = {**new, **self._instance(), "internal_routes": ("r",), "metric_tags": {"n": "1"}}
            return [[ActualLRPInstanceCreated(self._new(guid, index, **fields)), *self._drop_suspect(guid, index)]]
        if one.state == CRASHED:
            return []
        holder = self._instance() if one.state == UNCLAIMED else {}
        if one.state == RUNNING and self._rng.random() < 0.5:
            # A start that changes what the diff does not carry, and nothing else.
            again = self._name("r")
            return [[changed(one, self._next(one, internal_routes=(again,), metric_tags={"n": again}))]]
        notified = {} if one.state == RUNNING else {"internal_routes": (self._name("r"),), "metric_tags": {"n": "2"}}
        after = self._next(one, **new, **holder, **notified)
        return [[changed(one, after), *self._drop_suspect(guid, index)]]

    def _drop_suspect(self, guid: str, index: int) -> Group:
        suspect = self._at(guid, index, SUSPECT)
        return [] if suspect is None else [ActualLRPInstanceRemoved(self._drop(suspect))]

    def _crash(self, guid: str, index: int) -> list[Group]:
        suspect = self._at(guid, index, SUSPECT)
        if suspect is not None and self._rng.random() < 0.5:
            return [[ActualLRPInstanceRemoved(self._drop(suspect))]]
        one = self._at(guid, index)
        if one is None or one.state not in (CLAIMED, RUNNING):
            return []
        count = one.crash_count + 1
        if self._rng.random() < 0.5:
            return [self._told_unclaimed(one, self._freed(one, crash_count=count))]
        after = self._next(one, state=CRASHED, instance_guid="", cell_id="", address="", crash_count=count)
        return [[changed(one, after)]]

    def _told_unclaimed(self, before: ActualLRP, after: ActualLRP) -> Group:
        return [ActualLRPInstanceCreated(after), ActualLRPInstanceRemoved(before)]

    def _unclaim(self, guid: str, index: int) -> list[Group]:
        one = self._at(guid, index)
        if one is None or one.state not in (CLAIMED, RUNNING):
            return []
        return [self._told_unclaimed(one, self._freed(one))]

    def _restart(self, guid: str, index: int) -> list[Group]:
        """Convergence: a CRASHED row is tried again; the two events race."""
        one = self._at(guid, index)
        if one is None or one.state != CRASHED or self.exact:
            return []
        return [[event] for event in self._told_unclaimed(one, self._freed(one, crash_count=0))]

    def _fail(self, guid: str, index: int) -> list[Group]:
        one = self._at(guid, index)
        if one is None or one.state != UNCLAIMED:
            return []
        return [[changed(one, self._next(one, placement_error=f"no room {self._now}"))]]

    def _remove(self, guid: str, index: int) -> list[Group]:
        one = self._at(guid, index, self._rng.choice((ORDINARY, EVACUATING, SUSPECT)))
        return [] if one is None else [[ActualLRPInstanceRemoved(self._drop(one))]]

    def _retire_old(self, guid: str, index: int) -> list[Group]:
        """The row was read before its last writes, and then removed: the event tells of it as it was read."""
        one = self._at(guid, index)
        if one is None or self.exact:
            return []
        past = [each for each in self.history[one.epoch][-3:] if each.instance_guid in ("", one.instance_guid)]
        self._drop(one)
        return [[ActualLRPInstanceRemoved(replace(self._rng.choice(past), presence=one.presence))]]

    def _evacuate(self, guid: str, index: int) -> list[Group]:
        one = self._at(guid, index, self._rng.choice((ORDINARY, ORDINARY, SUSPECT)))
        if one is None or one.state not in (CLAIMED, RUNNING) or guid not in self.desired:
            return []
        there = self._at(guid, index, EVACUATING)
        tag = {"epoch": self._name("e")} if there is None else {"epoch": there.epoch, "tag_index": there.tag_index + 1}
        after = self._put(replace(one, **{"state": RUNNING, "presence": EVACUATING, "tag_index": 0, **tag}))
        if one.presence is SUSPECT:
            self._drop(one)
            return [[changed(one, after)]]
        return [[changed(one, after), ActualLRPInstanceCreated(self._freed(one))]]

    def _leave_evacuating(self, guid: str, index: int) -> list[Group]:
        one = self._at(guid, index, EVACUATING)
        return [] if one is None else [[ActualLRPInstanceRemoved(self._drop(one))]]

    def _lose_or_find(self, _guid: str, _index: int) -> list[Group]:
        """Convergence: a cell is gone, or back. Each event races all others."""
        cell = self._rng.choice(CELLS)
        events: Group = []
        if cell in self.lost:
            self.lost.discard(cell)
            for one in self.list_rows():
                if one.presence is SUSPECT and one.cell_id == cell:
                    events += self._settle_suspect(one)
        else:
            self.lost.add(cell)
            for one in self.list_rows():
                if one.cell_id == cell and one.presence is EVACUATING:
                    events.append(ActualLRPInstanceRemoved(self._drop(one)))
                elif one.cell_id == cell and one.presence is ORDINARY:
                    events += self._suspect(one)
        return [[event] for event in events]

    def _suspect(self, one: ActualLRP) -> Group:
        if self._at(one.process_guid, one.index, SUSPECT) is not None:
            return self._told_unclaimed(one, self._freed(one))
        after = self._put(replace(self._drop(one), presence=SUSPECT))
        return [changed(one, after), ActualLRPInstanceCreated(self._new(one.process_guid, one.index))]

    def _settle_suspect(self, suspect: ActualLRP) -> Group:
        ordinary = self._at(suspect.process_guid, suspect.index)
        self._drop(suspect)
        if ordinary is not None and ordinary.state == RUNNING:
            return [ActualLRPInstanceRemoved(suspect)]
        events: Group = []
        if ordinary is not None:
            events.append(ActualLRPInstanceRemoved(self._drop(ordinary)))
        events.insert(0, changed(suspect, self._put(replace(suspect, presence=ORDINARY))))
        return events


def changes_presence(event: Event) -> bool:
    """Whether an event is a change of presence without a new version."""
    return isinstance(event, ActualLRPInstanceChanged) and (
        event.before.epoch == event.after.epoch and event.before.tag_index == event.after.tag_index
    )
