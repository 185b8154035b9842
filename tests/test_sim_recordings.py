"""The simulated Diego does, step by step, what a real BBS was recorded doing."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from sim_recordings_support import (
    STREAMS,
    WAYS,
    Correspondence,
    Way,
    World,
    by_subject,
    events,
    records,
    slot_of,
    without_trace,
)
from sim_support import recording

from lrpmirror.errors import RequestRefused
from lrpmirror.events import DesiredLRPCreated, Event
from lrpmirror.model import ActualLRP, DesiredLRP, Presence
from lrpmirror.server import InstanceKey, NetInfo
from lrpmirror.wire import decode

Step = Callable[["Replay"], None]


class Replay:
    """A recorded scenario, done again on a simulated Diego with the values that were recorded: by `bbs`, its writes."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder
        self.world = world
        self.bbs = world.bbs
        self.same = Correspondence()
        self.recorded = {kind: events(folder / f"events.{kind}.sse") for kind in STREAMS}
        self.process_guid = next(
            each.desired_lrp.process_guid for each in self.recorded["instances"] if isinstance(each, DesiredLRPCreated)
        )
        self.evacuating: dict[int, ActualLRP] = {}
        self.number = -1
        self.after: list[ActualLRP] = []
        self.before: list[ActualLRP] = []
        self.desired: list[DesiredLRP] = []

    def go(self, step: Step) -> None:
        self.world.diego.advance(1)
        self.number += 1
        folder = self.folder / "steps" / f"{self.number:02}"
        self.before = self.after
        self.after = [decode.actual_lrp(each) for each in records(folder / "actual_lrps.pb")]
        self.desired = [decode.desired_lrp(each, full=True) for each in records(folder / "desired_lrps.pb")]
        step(self)
        for kind in STREAMS:
            emitted = self.world.emitted(kind)
            theirs, self.recorded[kind] = self.recorded[kind][: len(emitted)], self.recorded[kind][len(emitted) :]
            self._check_events(kind, emitted, theirs)
        self._check_lists(folder)

    def finish(self) -> None:
        assert self.recorded == {"instances": [], "groups": []}

    def key(self, rows: Sequence[ActualLRP], index: int, presence: Presence = Presence.ORDINARY) -> InstanceKey:
        return InstanceKey.of(self.row(rows, index, presence))

    def row(self, rows: Sequence[ActualLRP], index: int, presence: Presence = Presence.ORDINARY) -> ActualLRP:
        slot = (self.process_guid, index, presence)
        return next(each for each in rows if (each.process_guid, each.index, each.presence) == slot)

    def _check_events(self, kind: str, ours: Sequence[Event], theirs: Sequence[Event]) -> None:
        """Compare what was told about each index and about the desired LRP: between those no order is promised."""
        sorted_ours, sorted_theirs = by_subject(ours), by_subject(theirs)
        assert sorted_ours.keys() == sorted_theirs.keys(), f"step {self.number}, {kind}"
        for subject, emitted in sorted_ours.items():
            where = f"step {self.number}, {kind}, {subject}"
            assert [each.type for each in emitted] == [each.type for each in sorted_theirs[subject]], where
            for our_event, their_event in zip(emitted, sorted_theirs[subject], strict=True):
                self.same.check(our_event, without_trace(their_event), where)

    def _check_lists(self, folder: Path) -> None:
        ours = {(each.process_guid, each.index, each.presence): each for each in self.bbs.actual_lrps()}
        theirs = {(each.process_guid, each.index, each.presence): each for each in self.after}
        assert ours.keys() == theirs.keys(), f"step {self.number}"
        for key, our_row in ours.items():
            self.same.check(our_row, theirs[key], f"step {self.number}, row {key}")
        our_groups = {slot_of(each): each for each in self.bbs.actual_lrp_groups()}
        for record in records(folder / "actual_lrp_groups.pb"):
            group = decode.actual_lrp_group(record)
            self.same.check(our_groups.pop(slot_of(group)), group, f"step {self.number}, group")
        assert not our_groups
        our_desired = {each.process_guid: each for each in self.bbs.desired_lrps()}
        for each in self.desired:
            self.same.check(our_desired.pop(each.process_guid), each, f"step {self.number}, desired")
        assert not our_desired


# ------------------------------------------------------------------ what the steps did


def desire(replay: Replay) -> None:
    replay.bbs.desire(next(each for each in replay.desired if each.process_guid == replay.process_guid))


def claim(index: int, replay: Replay) -> None:
    replay.bbs.claim(replay.process_guid, index, replay.key(replay.after, index))


def start(index: int, replay: Replay) -> None:
    row = replay.row(replay.after, index)
    assert row.routable is not None
    replay.bbs.start(
        replay.process_guid,
        index,
        InstanceKey.of(row),
        NetInfo.of(row),
        internal_routes=row.internal_routes,
        metric_tags=row.metric_tags,
        routable=row.routable,
        availability_zone=row.availability_zone,
    )


def crash(index: int, replay: Replay) -> None:
    reason = replay.row(replay.after, index).crash_reason
    replay.bbs.crash(replay.process_guid, index, replay.key(replay.before, index), reason)


def refused(what: str, index: int, replay: Replay) -> None:
    """Try it with another instance, on a row that has crashed too often."""
    net = [NetInfo("10.0.0.1")] if what == "start" else []
    with pytest.raises(RequestRefused, match="ActualLRPCannotBe"):
        getattr(replay.bbs, what)(replay.process_guid, index, InstanceKey("another", "cell-a"), *net)


def fail(index: int, replay: Replay) -> None:
    replay.bbs.fail(replay.process_guid, index, replay.row(replay.after, index).placement_error)


def scale(instances: int, replay: Replay) -> None:
    replay.bbs.update_desired(replay.process_guid, instances=instances)


def reroute(replay: Replay) -> None:
    after = next(each for each in replay.desired if each.process_guid == replay.process_guid)
    replay.bbs.update_desired(replay.process_guid, routes=after.routes)


def annotate(replay: Replay) -> None:
    after = next(each for each in replay.desired if each.process_guid == replay.process_guid)
    replay.bbs.update_desired(replay.process_guid, annotation=after.annotation)


def remove_desired(replay: Replay) -> None:
    replay.bbs.remove_desired(replay.process_guid)


def remove(index: int, replay: Replay) -> None:
    replay.bbs.remove(replay.process_guid, index, replay.key(replay.before, index))


def retire(index: int, replay: Replay) -> None:
    replay.bbs.retire(replay.process_guid, index)


def all_up(replay: Replay) -> None:
    """Claim all three, of which two then ran; what the claims carried is known from the rows after."""
    for index in range(3):
        claim(index, replay)
    for index in range(2):
        start(index, replay)


def evacuate_running(index: int, replay: Replay) -> None:
    replay.evacuating[index] = replay.row(replay.before, index)
    evacuate_again(index, replay)


def evacuate_again(index: int, replay: Replay) -> None:
    row = replay.evacuating[index]
    replay.bbs.evacuate_running(
        replay.process_guid,
        index,
        InstanceKey.of(row),
        NetInfo.of(row),
        internal_routes=row.internal_routes,
        metric_tags=row.metric_tags,
    )


def evacuate_claimed(index: int, replay: Replay) -> None:
    replay.bbs.evacuate_claimed(replay.process_guid, index, replay.key(replay.before, index))


def evacuate_stopped(index: int, replay: Replay) -> None:
    replay.bbs.evacuate_stopped(replay.process_guid, index, replay.key(replay.before, index))


def evacuate_crashed(index: int, replay: Replay) -> None:
    reason = replay.row(replay.after, index).crash_reason
    replay.bbs.evacuate_crashed(replay.process_guid, index, replay.key(replay.before, index), reason)


def remove_evacuating(index: int, replay: Replay) -> None:
    key = replay.key(replay.before, index, Presence.EVACUATING)
    replay.bbs.remove_evacuating(replay.process_guid, index, key)


SCENARIOS: dict[str, list[tuple[str, Step]]] = {
    "01-lifecycle": [
        ("desire 3", desire),
        ("claim 0", partial(claim, 0)),
        ("claim 1", partial(claim, 1)),
        ("claim 2", partial(claim, 2)),
        ("start 0", partial(start, 0)),
        ("start 1", partial(start, 1)),
        ("start 2", partial(start, 2)),
        ("start again same netinfo", partial(start, 0)),
        ("start again new port", partial(start, 0)),
        ("not routable", partial(start, 1)),
        ("routable", partial(start, 1)),
        ("scale to 5", partial(scale, 5)),
        ("new routes", reroute),
        ("annotation", annotate),
        ("scale to 1", partial(scale, 1)),
        ("remove", remove_desired),
        ("rep removes 0", partial(remove, 0)),
        ("rep removes 1", partial(remove, 1)),
        ("rep removes 2", partial(remove, 2)),
    ],
    "02-crash": [
        ("desire 2", desire),
        *[(f"{what.__name__} {n}", partial(what, 0)) for n in range(3) for what in (claim, start, crash)],
        *[(f"{what} 3", partial(refused, what, 0)) for what in ("claim", "start", "crash")],
        ("claim 1", partial(claim, 1)),
        ("crash claimed", partial(crash, 1)),
        ("fail unclaimed", partial(fail, 1)),
        ("fail again other reason", partial(fail, 1)),
        ("retire crashed", partial(retire, 0)),
        ("remove", remove_desired),
    ],
    "03-evacuation": [
        ("desire 3", desire),
        ("all up", all_up),
        ("evacuate running 0", partial(evacuate_running, 0)),
        ("evacuate claimed 2", partial(evacuate_claimed, 2)),
        ("claim 0 on b", partial(claim, 0)),
        ("evacuate running 0 again", partial(evacuate_again, 0)),
        ("start 0 on b", partial(start, 0)),
        ("evacuate running 0 -> remove", partial(evacuate_again, 0)),
        ("evacuate running 1", partial(evacuate_running, 1)),
        ("remove evacuating 1", partial(remove_evacuating, 1)),
        ("claim 2 on c", partial(claim, 2)),
        ("start 2 on c", partial(start, 2)),
        ("evacuate stopped 2", partial(evacuate_stopped, 2)),
        ("claim 1 on c", partial(claim, 1)),
        ("start 1 on c", partial(start, 1)),
        ("evacuate crashed 1", partial(evacuate_crashed, 1)),
        ("remove", remove_desired),
        ("rm", partial(remove, 0)),
    ],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_simulation_tells_and_lists_what_the_real_server_did(name: str, way: Way) -> None:
    folder = recording(name)
    labels = json.loads((folder / "about.json").read_text())["steps"]
    assert [label for label, _ in SCENARIOS[name]] == labels

    def replay(world: World) -> None:
        again = Replay(folder, world)
        for _, step in SCENARIOS[name]:
            again.go(step)
        again.finish()

    way(folder, replay)
