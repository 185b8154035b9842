"""The production route emitter behind a replica sends requests to the same instances as one at the BBS itself."""

from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from core_support import take_list
from emitter_support import Emitter, seen_by_others
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sim_recordings_support import STREAMS, records
from sim_recordings_support import events as recorded_events
from sim_support import drain
from wire_support import RECORDINGS

from lrpmirror import ActualLRP, Tuning
from lrpmirror.core.rows.dispatch import desired_guid_of, row_guid_of
from lrpmirror.core.rows.groups import groups_of
from lrpmirror.core.session import Session
from lrpmirror.errors import ConnectionFailed
from lrpmirror.events import Event
from lrpmirror.mirror._reads import Reads
from lrpmirror.model import DesiredLRP
from lrpmirror.serve.replica import Replica
from lrpmirror.server import StreamKind, Subscription
from lrpmirror.sim import Autopilot, Diego, Rates
from lrpmirror.wire import decode

BUSY = Rates(
    deploys=1,
    scalings=1,
    crashes=2,
    routable_changes=2,
    placement_failures=0.5,
    route_changes=0.5,
    evacuations=0.3,
    cell_losses=0.2,
)


def shown(kind: StreamKind, rows: Iterable[ActualLRP]) -> list[ActualLRP]:
    """Return the rows that a stream tells of: all, or those in the slots of groups."""
    if kind == "instances":
        return list(rows)
    by_process: dict[str, list[ActualLRP]] = {}
    for row in rows:
        by_process.setdefault(row.process_guid, []).append(row)
    groups = [group for those in by_process.values() for group in groups_of(those)]
    return [row for group in groups for row in (group.instance, group.evacuating) if row is not None]


class Behind:
    """A replica without a network, and an emitter on each of its streams."""

    def __init__(self, rows: Iterable[ActualLRP], desired: Iterable[DesiredLRP], domains: Iterable[str]) -> None:
        rows, desired = list(rows), list(desired)
        self.session = Session(Tuning(), Random(0))
        reads = Reads(self.session, lambda: 0.0)
        self.replica = Replica(cast("Any", reads), lambda: 0.0)
        self.session.stream_opened(0)
        take_list(self.session, rows, desired)
        self.session.knowledge.store.domains = frozenset(domains)
        self.session.observers = (self.replica,)
        self._told: dict[StreamKind, Subscription] = {kind: self.replica.subscribe(kind) for kind in STREAMS}
        for one in self._told.values():
            one._limit = None
        self.emitters = {kind: Emitter(shown(kind, rows), desired) for kind in STREAMS}
        self.extra = 0

    def hear(self, event: Event) -> None:
        """The BBS tells an event of the instance stream."""
        self.session.events([event], 0)
        self.pass_on()

    def pass_on(self) -> None:
        """The emitters hear what the replica has told."""
        while self.replica.readers.hand_out():
            pass
        for kind, subscription in self._told.items():
            notified = subscription.take_encoded(1_000_000)
            self.extra += sum(each.mirror_only for each in notified)
            self.emitters[kind].handle(seen_by_others(notified))
        assert not any(one.closed for one in self._told.values())

    def repair(
        self, rows_of: Callable[[str], Iterable[ActualLRP]], desired: Callable[[], Iterable[DesiredLRP]]
    ) -> None:
        """The mirror reads again what it is in doubt about, and passes on what it finds."""
        while (scope := self.session.take_repairs()) is not None:
            snapshot = self.session.begin_list(0, scope)
            snapshot.list_rows([row for guid in sorted(scope.rows or ()) for row in rows_of(guid)])
            snapshot.list_desired([lrp for lrp in desired() if lrp.process_guid in (scope.desired or ())])
            for _ in snapshot.settle():
                pass
            self.session.end_list(snapshot, 0)
            self.pass_on()


def touched(event: Event) -> str:
    """Return the process that an event speaks of."""
    return row_guid_of(event) or desired_guid_of(event) or ""


def check(direct: Emitter, behind: Emitter, where: object, *, amid: str | None = None) -> None:
    """Compare two emitters; `amid` what one write to a process causes, the replica may have told more of it already."""
    here, there = behind.routes_to(amid), direct.routes_to(amid)
    assert not here - there, f"{where}: too many {here - there}"
    assert amid is not None or not there - here, f"{where}: missing {there - here}"


# Recordings


def lists_of(folder: Path) -> tuple[list[ActualLRP], list[DesiredLRP], list[str]]:
    rows = [decode.actual_lrp(record) for record in records(folder / "actual_lrps.pb")]
    desired = [decode.scheduling_info(record) for record in records(folder / "desired_lrp_scheduling_infos.pb")]
    return rows, desired, [record.decode() for record in records(folder / "domains.pb")]


def read_again(behind: Behind) -> Callable[[str], list[ActualLRP]]:
    """The rows of a process as a read would bring them: with what no diff carries."""

    def rows_of(guid: str) -> list[ActualLRP]:
        return [
            replace(row, internal_routes=("read.again",), metric_tags={"read": "again"})
            for row in behind.session.knowledge.store.process(guid)
        ]

    return rows_of


RECORDED = sorted(path.parent for path in RECORDINGS.glob("*/events.instances.sse"))


@pytest.mark.parametrize("folder", RECORDED or [None], ids=lambda path: path.name if path else "none")
def test_at_every_moment_of_a_recording_the_emitters_agree(folder: Path | None) -> None:
    if folder is None:
        pytest.skip(f"the recordings of a real BBS are not at {RECORDINGS}")
    rows, desired, domains = lists_of(folder / "snapshot")
    behind, direct = Behind(rows, desired, domains), Emitter(rows, desired)
    for number, event in enumerate(recorded_events(folder / "events.instances.sse")):
        direct.handle([event])
        behind.hear(event)
        check(direct, behind.emitters["instances"], (number, event), amid=touched(event))
        behind.repair(
            read_again(behind), lambda: behind.session.knowledge.store.select_desired(app_guid=None, domain=None)
        )
        check(direct, behind.emitters["instances"], (number, "read again"), amid=touched(event))
    # Where two events came in the wrong order, an emitter at the BBS keeps what is gone until it lists again, or passes
    # over what is desired a moment later. The replica adds nothing to either.
    rows, desired, _ = lists_of(folder / "expected")
    there, truth = direct.routes_to(), Emitter(rows, desired).routes_to()
    assert there & truth <= behind.emitters["instances"].routes_to() <= there
    take_list(behind.session, rows, desired)
    behind.pass_on()
    assert there & truth <= behind.emitters["instances"].routes_to() <= truth


# Lives


@given(seed=st.integers(0, 2**16), steps=st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_at_every_moment_of_a_life_the_emitters_agree(seed: int, steps: int) -> None:
    simulated = Diego(seed=seed)
    pilot = Autopilot(simulated, seed=seed, apps=5, cells=3, rates=BUSY)
    pilot.run(20)
    rows, desired = simulated.actual_lrps(), simulated.desired_lrps()
    behind = Behind(rows, desired, simulated.domains())
    direct = {kind: Emitter(shown(kind, rows), desired) for kind in STREAMS}
    streams = {kind: simulated.subscribe(kind) for kind in STREAMS}
    for step in range(steps):
        pilot.step()
        direct["groups"].handle(drain(streams["groups"]))
        for event in drain(streams["instances"]):
            direct["instances"].handle([event])
            behind.hear(event)
            check(direct["instances"], behind.emitters["instances"], (step, event), amid=touched(event))
        check(direct["groups"], behind.emitters["groups"], step)
        behind.repair(lambda guid: simulated.actual_lrps(process_guid=guid), simulated.desired_lrps)
        for kind in STREAMS:
            check(direct[kind], behind.emitters[kind], (step, kind, "read again"))


@given(seed=st.integers(0, 2**16), gaps=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 12)), max_size=3))
@settings(max_examples=15, deadline=None)
def test_after_a_gap_the_emitters_agree_on_what_is_there(seed: int, gaps: list[tuple[int, int]]) -> None:
    simulated = Diego(seed=seed)
    pilot = Autopilot(simulated, seed=seed, apps=5, cells=3, rates=BUSY)
    pilot.run(20)
    rows, desired = simulated.actual_lrps(), simulated.desired_lrps()
    behind = Behind(rows, desired, simulated.domains())
    direct = {kind: Emitter(shown(kind, rows), desired) for kind in STREAMS}
    streams = {kind: simulated.subscribe(kind) for kind in STREAMS}
    for heard, missed in gaps:
        pilot.run(heard)
        for kind in STREAMS:
            events = drain(streams[kind])
            direct[kind].handle(events)
            for event in events if kind == "instances" else ():
                behind.hear(event)
        behind.session.stream_lost(ConnectionFailed("cut"))
        pilot.run(missed)
        behind.session.stream_opened(0)
        rows, desired = simulated.actual_lrps(), simulated.desired_lrps()
        take_list(behind.session, rows, desired)
        behind.pass_on()
        for kind in STREAMS:
            direct[kind].handle(drain(streams[kind]))
            there, truth = direct[kind].routes_to(), Emitter(shown(kind, rows), desired).routes_to()
            here = behind.emitters[kind].routes_to()
            assert not (there & truth) - here, f"{kind}: missing {(there & truth) - here}"
            assert not here - (there | truth), f"{kind}: too many {here - (there | truth)}"
