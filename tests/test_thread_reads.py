"""Reads from other threads, while the mirror is being written as fast as it can be."""

import gc
import itertools
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace
from thread_support import PATIENCE, FakeBBS, Versions, desired, row, synced

from lrpmirror import ActualLRPState, CellPresence, MirrorThread, views
from lrpmirror.core.rows.changes import row_key
from lrpmirror.core.rows.store import Store
from lrpmirror.events import (
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
)
from lrpmirror.model import ActualLRP, PortMapping

CELLS = ("cell-a", "cell-b", "cell-c")
STATES = (ActualLRPState.CLAIMED, ActualLRPState.RUNNING)
STEADY = tuple(f"steady-{number}" for number in range(20))
FLEETING = tuple(f"fleeting-{number}" for number in range(20))
INSTANCES = 5
STEADY_ROWS = len(STEADY) * INSTANCES
ROUNDS = 200


class Churn:
    """A server on which steady processes change all the time and fleeting ones come and go, for ever."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self._names = itertools.count()
        self.rows = {(guid, index): self._row(guid, index) for guid in STEADY for index in range(INSTANCES)}
        self.desired = {guid: self._desired(guid) for guid in STEADY}
        self.stopped = threading.Event()

    def events(self) -> Iterator[list[Event]]:
        while not self.stopped.is_set():
            yield [event for _ in range(5) for event in self._step()]

    def _step(self) -> list[Event]:
        if self._rng.random() < 0.3:
            return self._come_or_go(self._rng.choice(FLEETING))
        slot, before = self._rng.choice(list(self.rows.items()))
        cell = self._rng.choice(CELLS)
        if self._rng.random() < 0.3:
            # The instance moves to a record of its own, as in an evacuation and back.
            after = replace(before, epoch=f"moved-{next(self._names)}", tag_index=0)
        else:
            state = self._rng.choice(STATES)
            after = replace(before, tag_index=before.tag_index + 1, state=state, cell_id=cell, since=before.since + 1)
        self.rows[slot] = after
        return [ActualLRPInstanceChanged(before, after)]

    def _come_or_go(self, guid: str) -> list[Event]:
        rows = [self.rows.pop((guid, index), None) for index in range(INSTANCES)]
        gone = self.desired.pop(guid, None)
        if gone is not None:
            return [DesiredLRPRemoved(gone), *(ActualLRPInstanceRemoved(one) for one in rows if one is not None)]
        self.desired[guid] = self._desired(guid)
        made = {(guid, index): self._row(guid, index) for index in range(INSTANCES)}
        self.rows.update(made)
        return [DesiredLRPCreated(self.desired[guid]), *map(ActualLRPInstanceCreated, made.values())]

    def _row(self, guid: str, index: int) -> ActualLRP:
        return row(
            guid,
            index,
            epoch=f"made-{next(self._names)}",
            address=f"10.0.0.{index}",
            ports=(PortMapping(8080, 61000 + index),),
            availability_zone="z1",
        )

    def _desired(self, guid: str) -> Any:
        route = f'[{{"hostnames": ["{guid}.example.com", "all.example.com"], "port": 8080}}]'
        return desired(
            guid,
            instances=INSTANCES,
            memory_mb=64,
            disk_mb=128,
            epoch=f"made-{next(self._names)}",
            routes={"cf-router": route.encode()},
        )


@pytest.fixture
def _threads_take_turns_often() -> Iterator[None]:
    """Make other threads run between any two steps, also while something is being collected."""

    def collected(_phase: str, _info: object) -> None:
        sum(range(10))

    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20, *threshold[1:])
    gc.callbacks.append(collected)
    yield
    gc.callbacks.remove(collected)
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


class Reader:
    """Reads everything there is to read, again and again, and checks each answer by itself."""

    def __init__(self, mirror: MirrorThread) -> None:
        self.mirror = mirror
        self.revision = 0
        self.routes = mirror.view(views.HTTPRoutes())
        self.cells = mirror.view(views.Cells())
        self.health = mirror.view(views.Processes())
        self.versions = mirror.view(Versions())
        self.subscription = mirror.subscribe(lambda _: None, errors="log")

    def run(self) -> None:
        checks = (
            self.all_rows,
            self.rows_by_filter,
            self.processes,
            self.desired,
            self.freshness,
            self.route_table,
            self.other_views,
            self.one_revision,
        )
        for _ in range(ROUNDS):
            for check in checks:
                check()

    def all_rows(self) -> None:
        rows = self.mirror.actual_lrps()
        assert max(Counter(map(row_key, rows)).values()) == 1
        steady = {(one.process_guid, one.index) for one in rows if one.process_guid in STEADY}
        assert len(steady) == STEADY_ROWS

    def rows_by_filter(self) -> None:
        for cell in CELLS:
            assert all(one.cell_id == cell for one in self.mirror.actual_lrps(cell_id=cell))
        for state in STATES:
            rows = self.mirror.actual_lrps(state=state, cell_id=CELLS[0], domain="apps")
            assert all((one.state, one.cell_id) == (state, CELLS[0]) for one in rows)

    def processes(self) -> None:
        for guid in STEADY[:5]:
            rows = self.mirror.actual_lrps(guid)
            indexes = [one.index for one in rows]
            # While one moves it is on both records for a moment, and never on none.
            assert sorted(set(indexes)) == list(range(INSTANCES))
            assert indexes == sorted(indexes)
            groups = self.mirror.actual_lrp_groups(guid)
            assert [group.resolve().index for group in groups] == list(range(INSTANCES))
            found = self.mirror.instance(f"{guid}-0")
            assert found is not None
            assert found.instance_guid == f"{guid}-0"

    def desired(self) -> None:
        of_app = [one.process_guid for one in self.mirror.desired_lrps(app_guid="fleeting")]
        assert of_app == sorted(set(of_app))
        assert set(of_app) <= set(FLEETING)
        assert {one.process_guid for one in self.mirror.desired_lrps()} >= set(STEADY)
        assert {one.process_guid for one in self.mirror.desired_lrps(domain="apps")} >= set(STEADY)
        steady = self.mirror.desired_lrp(STEADY[0])
        assert steady is not None
        assert steady.instances == INSTANCES

    def freshness(self) -> None:
        status = self.mirror.status
        assert status.live
        assert status.age is not None
        assert self.revision <= self.mirror.revision
        self.revision = self.mirror.revision
        assert self.mirror.domains == {"apps"}
        assert [cell.cell_id for cell in self.mirror.cells] == list(CELLS)
        assert self.subscription.lag.pending >= 0
        assert all(lag.age >= 0 for lag in self.routes.lags)

    def route_table(self) -> None:
        for name, endpoints in self.routes.items():
            assert endpoints
            addresses = [(endpoint.process_guid, endpoint.index) for endpoint in endpoints]
            assert name == "all.example.com" or {f"{guid}.example.com" for guid, _ in addresses} == {name}
        assert all(self.routes.values())
        for name in self.routes:
            self.routes.get(name)
        assert self.routes.get(f"{STEADY[0]}.example.com") != ()
        assert repr(self.routes).startswith("<view HTTPRoutes")
        assert self.routes.failures == {}

    def other_views(self) -> None:
        assert all(load.instances >= 0 for load in self.cells.values())
        assert set(self.cells) == set(CELLS)
        assert {guid for guid, _ in self.health.items()} >= set(STEADY)

    def one_revision(self) -> None:
        mirror = self.mirror
        revision, of_view, rows, on_cells, versions = mirror.consistently(
            lambda: (
                mirror.revision,
                self.versions.revision,
                mirror.actual_lrps(),
                sum(load.instances for load in self.cells.values()),
                self.versions.copy(),
            )
        )
        assert revision == of_view
        assert on_cells == len(rows)
        newest: dict[str, int] = {}
        for one in rows:
            newest[one.process_guid] = max(one.tag_index, newest.get(one.process_guid, 0))
        assert versions == newest


@pytest.mark.usefixtures("_threads_take_turns_often")
def test_every_read_is_whole_while_the_mirror_is_written_at_full_speed() -> None:
    churn = Churn(seed=4)
    cells = [CellPresence(cell_id=cell) for cell in CELLS]
    bbs = FakeBBS(churn.rows.values(), churn.desired.values(), cells, script=churn.events)
    with synced(bbs) as mirror, ThreadPoolExecutor(2) as executor:
        readers = [Reader(mirror) for _ in range(2)]
        began = mirror.revision
        try:
            for reading in [executor.submit(reader.run) for reader in readers]:
                reading.result()
        finally:
            churn.stopped.set()
        assert mirror.revision - began > ROUNDS, "hardly anything was written meanwhile"
        mirror.wait_for(lambda one: set(one.actual_lrps()) == set(churn.rows.values()), PATIENCE)


@pytest.fixture
def during_collections() -> Iterator[list[Callable[[], object]]]:
    """What is to be done whenever the garbage collector runs, which is whenever it can."""
    deeds: list[Callable[[], object]] = []

    def collected(phase: str, _info: object) -> None:
        if phase == "start":
            for deed in deeds:
                deed()

    threshold = gc.get_threshold()
    gc.callbacks.append(collected)
    gc.set_threshold(1)
    yield deeds
    gc.set_threshold(*threshold)
    gc.callbacks.remove(collected)


def test_a_write_that_the_garbage_collector_lets_in_breaks_no_read(
    during_collections: list[Callable[[], object]],
) -> None:
    store = Store()
    names = itertools.count()

    def write() -> None:
        one = row(f"p{next(names)}", epoch="")
        store.put(row_key(one), store.get(row_key(one)), one)
        store.put_desired(desired(one.process_guid))

    write()
    during_collections.append(write)
    for _ in range(50):
        assert all(one.cell_id == "cell-a" for one in store.select(cell_id="cell-a", state=None, domain=None))
        assert store.select(cell_id=None, state=None, domain=None)
        assert store.select_desired(app_guid=None, domain=None)
        assert store.select_desired(app_guid=None, domain="apps")
        assert [*store.keys_by_cell()]
        assert store.desired_guids()
    assert next(names) > 50


class Fold:
    """A callback that keeps rows by its changes, and is sometimes slow."""

    def __init__(self, mirror: MirrorThread, churn: Churn) -> None:
        self.rows: dict[Any, ActualLRP] = {}
        self._mirror = mirror
        self._churn = churn
        self._rng = Random(6)
        self._told = threading.Condition()

    def __call__(self, change: Any) -> None:
        with self._told:
            assert self.rows.get(change.key) == change.before
            if change.after is None:
                del self.rows[change.key]
            else:
                self.rows[change.key] = change.after
            self._told.notify()
        if self._rng.random() < 0.05:
            then = self._mirror.revision + 50
            self._mirror.wait_for(lambda one: self._churn.stopped.is_set() or one.revision >= then, PATIENCE)

    def wait(self) -> None:
        """Wait until the rows are those of the server."""
        with self._told:
            assert self._told.wait_for(lambda: set(self.rows.values()) == set(self._churn.rows.values()), PATIENCE)


@pytest.mark.parametrize("revision", [1, 300])
@pytest.mark.usefixtures("_threads_take_turns_often")
def test_folding_the_changes_of_a_slow_thread_gives_the_rows(revision: int) -> None:
    churn = Churn(seed=5)
    bbs = FakeBBS(churn.rows.values(), churn.desired.values(), script=churn.events)
    with synced(bbs) as mirror, ThreadPoolExecutor(1) as executor:
        mirror.wait_for(lambda one: one.revision >= revision, PATIENCE)
        fold = Fold(mirror, churn)
        mirror.subscribe(fold, executor=executor)
        mirror.wait_for(lambda one: one.revision >= revision + 3_000, PATIENCE)
        churn.stopped.set()
        mirror.wait_for(lambda one: set(one.actual_lrps()) == set(churn.rows.values()), PATIENCE)
        fold.wait()
