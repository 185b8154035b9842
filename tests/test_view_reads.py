"""Views that say which fields of a row they look at: of what differs in none of them nothing is derived again."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from views_support import EVACUATING, desired, process, running

from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.derived.dirty import dirtied_by
from lrpmirror.core.derived.view import InstanceView, Share, Step
from lrpmirror.core.rows.changes import Cause, Commit, Delta
from lrpmirror.model import ActualLRP


class ByZone(InstanceView[str, int, int]):
    """The number of rows by zone; counts the instances that it is asked for."""

    def __init__(self, broken: Callable[[ActualLRP], bool] = lambda _: False) -> None:
        self.broken = broken
        self.asked = 0

    def instance(self, rows: tuple[ActualLRP, ...], terms: Any) -> Sequence[Share[str, int]]:  # noqa: ARG002 - it looks at the rows only
        self.asked += 1
        if any(map(self.broken, rows)):
            raise ValueError(rows[0].index)
        zones = [row.availability_zone for row in rows]
        return [Share((zone,), zones.count(zone)) for zone in dict.fromkeys(zones)]

    def fold(self, state: int | None, steps: Sequence[Step[int]]) -> int | None:
        return (state or 0) + sum((step.after or 0) - (step.before or 0) for step in steps) or None


class OfZone(ByZone):
    reads = frozenset({"availability_zone"})

    def instance(self, rows: tuple[ActualLRP, ...], terms: Any) -> Sequence[Share[str, int]]:
        return super().instance(rows, terms)


class OfAnything(OfZone):
    """What is declared of its base says nothing of its own method."""

    def instance(self, rows: tuple[ActualLRP, ...], terms: Any) -> Sequence[Share[str, int]]:
        return super().instance(rows, terms)


def instances(number: int) -> list[ActualLRP]:
    return [running(index=index, availability_zone="z") for index in range(number)]


def changed(view: ByZone, before: list[ActualLRP], *steps: list[tuple[ActualLRP, ActualLRP | None]]) -> int:
    """Derive a process, then what some commits change of it; return how many instances were derived for them."""
    derivation = Derivation(view)
    derivation.update([process(desired(), *before)])
    view.asked = 0
    rows = {row.epoch: row for row in before}
    commits = []
    for step in steps:
        commits.append(Commit(1, Cause.EVENT, tuple([Delta(old.epoch, old, new) for old, new in step])))
        for old, new in step:
            del rows[old.epoch]
            rows.update({} if new is None else {old.epoch: new})
    now = process(desired(), *sorted(rows.values(), key=lambda row: (row.index, row.presence)))
    derivation.update([now], dirtied_by(commits))
    derived = view.asked
    derivation._check([now])
    return derived


@pytest.mark.parametrize(
    ("view", "field", "derived"),
    [
        (OfZone, {"since": 9, "routable": False}, 0),
        (OfZone, {"availability_zone": "other"}, 1),
        (OfAnything, {"since": 9}, 1),
        (ByZone, {"since": 9}, 1),
    ],
)
def test_a_row_that_differs_in_nothing_that_the_view_reads_is_not_derived_again(
    view: type[ByZone], field: dict[str, Any], derived: int
) -> None:
    rows = instances(3)
    assert changed(view(), rows, [(rows[1], replace(rows[1], **field, tag_index=9))]) == derived


def test_what_several_changes_do_to_an_instance_is_derived() -> None:
    rows = [*instances(3), replace(running(index=1, availability_zone="z"), presence=EVACUATING, epoch="moving")]
    between, now = (replace(rows[1], availability_zone=zone, tag_index=9) for zone in ("there", "here"))
    moved = replace(rows[3], availability_zone="here", tag_index=9)
    since = replace(rows[1], since=9, tag_index=9)
    assert changed(OfZone(), rows, [(rows[1], between)], [(between, now)]) == 1
    assert changed(OfZone(), rows, [(rows[1], since), (rows[3], moved)]) == 1
    assert changed(OfZone(), rows, [(rows[1], since), (rows[3], None)]) == 1
    assert changed(OfZone(), rows, [(rows[3], None), (rows[1], since)]) == 1
    assert changed(OfZone(), rows, [(rows[1], since), (rows[0], replace(rows[0], since=9))]) == 0


def test_an_instance_on_which_the_view_failed_is_derived_again_whatever_of_it_changes() -> None:
    rows = instances(2)
    view = OfZone(broken=lambda row: row.index == 1)
    derivation = Derivation(view)
    derivation.update([process(desired(), *rows)])
    assert set(derivation.failures) == {"p"}

    view.broken = lambda _: False
    now = [rows[0], replace(rows[1], since=9, tag_index=9)]
    commit = Commit(1, Cause.EVENT, (Delta(now[1].epoch, rows[1], now[1]),))
    derivation.update([process(desired(), *now)], dirtied_by([commit]))
    assert not derivation.failures
    derivation._check([process(desired(), *now)])


def test_of_a_record_that_is_at_another_index_both_places_are_derived() -> None:
    rows = instances(2)
    # The check in `changed` finds what is left at the old one.
    assert changed(OfZone(), rows, [(rows[1], replace(rows[1], index=5, tag_index=9))]) == 1


def test_the_rows_of_an_instance_are_looked_for_once_for_all_views() -> None:
    shared = process(desired(), *instances(3))
    assert shared.at(1) is shared.at(1)
    assert shared.decoded_at(1) is shared.decoded_at(1)
