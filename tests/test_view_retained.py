"""What is believed of a desired LRP that a list does not have."""

from collections.abc import Iterable

import pytest
from core_support import removals
from msgspec.structs import replace
from views_support import EVACUATING, ViewedSession, cell, desired, every_view, row, running

from lrpmirror.core.lists.retained import Retained
from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.rows.changes import Delta
from lrpmirror.events import (
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
)
from lrpmirror.model import ActualLRP, DesiredLRP

LRP = desired("p", 1, http=["app.example.com"], epoch="e", tag_index=5)


def following(*lrps: DesiredLRP, domains: Iterable[str] = ()) -> ViewedSession:
    """A session that has these desired LRPs, an instance of each, and views beside it."""
    viewed = ViewedSession(every_view())
    viewed.relist([running(lrp.process_guid) for lrp in lrps], lrps, domains=domains)
    return viewed


def lost(domains: Iterable[str] = ()) -> ViewedSession:
    """The same, after a list that does not have the desired LRP, of a domain that is not fresh."""
    viewed = following(LRP)
    viewed.relist([running()], [], domains=domains)
    viewed.check()
    return viewed


def routed(viewed: ViewedSession) -> bool:
    viewed.check()
    return "app.example.com" in viewed["HTTPRoutes"]


# Lists


def test_in_a_domain_that_is_not_fresh_a_desired_lrp_that_a_list_lacks_keeps_its_routes() -> None:
    viewed = following(LRP)

    published = viewed.relist([running()], [], domains=["another domain"])

    assert viewed.session.knowledge.store.desired("p") is None
    assert published["HTTPRoutes"] == []
    assert routed(viewed)


def test_in_a_fresh_domain_it_does_not() -> None:
    viewed = following(LRP)

    viewed.relist([running()], [], domains=["apps"])

    assert not routed(viewed)


def test_a_domain_that_turns_fresh_vouches_for_the_absence() -> None:
    viewed = lost()

    published = viewed.relist([running()], [], domains=["apps"])

    assert [(delta.key, delta.after) for delta in published["HTTPRoutes"]] == [("app.example.com", None)]
    assert not routed(viewed)


def test_another_list_of_the_stale_domain_changes_nothing() -> None:
    viewed = lost()
    for _ in range(2):
        assert viewed.relist([running()], [], domains=[])["HTTPRoutes"] == []

    assert routed(viewed)


def test_a_desired_lrp_that_is_back_in_a_list_counts_as_it_is_there() -> None:
    viewed = lost()
    viewed.relist([running()], [replace(LRP, instances=0, tag_index=6)], domains=[])

    assert not routed(viewed)

    viewed.relist([running()], [], domains=["apps"])
    assert viewed.session.knowledge.process("p").routed is None


def test_instances_come_and_go_below_the_routes_that_are_kept() -> None:
    viewed = lost()

    viewed.apply(ActualLRPInstanceCreated(running(instance_guid="second", presence=EVACUATING)))

    assert [one.instance_guid for one in viewed["HTTPRoutes"]["app.example.com"]] == ["p-0", "second"]
    viewed.relist([row(tag_index=1)], [], domains=[])
    assert not routed(viewed)


def test_a_process_that_has_nothing_but_a_desired_lrp_that_is_kept_is_still_a_process() -> None:
    viewed = following(LRP)
    viewed.relist([], [], domains=[])

    assert viewed.session.knowledge.process_guids() == ["p"]
    assert viewed.session.knowledge.process("p").routed == LRP

    viewed.relist([], [], domains=["apps"])
    assert viewed.session.knowledge.process_guids() == []
    assert viewed.session.knowledge.revision == 3, "letting go of it is a commit"


def test_each_domain_vouches_for_its_own() -> None:
    other = desired("q", http=["other.example.com"], domain="tasks", epoch="f")
    viewed = following(LRP, other)
    viewed.relist([running("p"), running("q")], [], domains=[])

    viewed.relist([running("p"), running("q")], [], domains=["tasks"])

    viewed.check()
    assert viewed["HTTPRoutes"].keys() == {"app.example.com"}


# Events


def gone(lrp: DesiredLRP) -> DesiredLRPRemoved:
    return DesiredLRPRemoved(lrp)


def test_an_event_that_removes_it_withdraws_its_routes_whatever_the_domain() -> None:
    viewed = following(LRP)
    viewed.apply(gone(LRP))

    assert not routed(viewed)


@pytest.mark.parametrize("removed", [LRP, replace(LRP, tag_index=9), replace(LRP, epoch="")])
def test_an_event_that_removes_it_after_a_list_lacked_it_withdraws_its_routes(removed: DesiredLRP) -> None:
    viewed = lost()

    published = viewed.apply(gone(removed))

    assert [delta.after for delta in published["HTTPRoutes"]] == [None]
    assert not routed(viewed)


def test_the_removal_of_a_record_that_was_there_before_it_does_not() -> None:
    viewed = lost()
    viewed.apply(gone(replace(LRP, epoch="older")))

    assert routed(viewed)


@pytest.mark.parametrize(
    "late",
    [
        DesiredLRPChanged(replace(LRP, tag_index=3), replace(LRP, tag_index=4)),
        DesiredLRPChanged(replace(LRP, tag_index=4), LRP),
        DesiredLRPCreated(replace(LRP, tag_index=0)),
    ],
)
def test_a_late_event_of_a_version_that_was_seen_changes_nothing(late: Event) -> None:
    viewed = lost()
    viewed.apply(late)

    assert routed(viewed)


def test_an_event_that_a_list_seems_to_have_missed_has_it_read_and_keeps_its_routes_until_then() -> None:
    viewed = lost()
    viewed.apply(DesiredLRPChanged(LRP, replace(LRP, tag_index=6)))

    assert routed(viewed)
    assert asked_for(viewed) == {"p"}


def test_an_event_that_creates_it_anew_replaces_it() -> None:
    viewed = lost()
    viewed.apply(DesiredLRPCreated(desired("p", 1, http=["new.example.com"], epoch="new")))

    viewed.check()
    assert viewed["HTTPRoutes"].keys() == {"new.example.com"}
    viewed.apply(gone(desired("p", epoch="new")))
    assert viewed["HTTPRoutes"] == {}


def test_events_of_other_processes_change_nothing() -> None:
    viewed = lost()
    viewed.apply(
        gone(desired("q", epoch="f")),
        DesiredLRPCreated(desired("r", epoch="g")),
        ActualLRPInstanceChanged(running(), running(tag_index=1)),
    )

    assert routed(viewed)


# Targeted reads


def asked_for(viewed: ViewedSession) -> frozenset[str]:
    """The processes whose desired LRPs are to be read."""
    scope = viewed.session.take_repairs()
    return frozenset() if scope is None or scope.desired is None else scope.desired


def test_an_instance_that_runs_without_a_known_desired_lrp_has_it_read_once() -> None:
    viewed = following()

    viewed.apply(
        ActualLRPInstanceCreated(running("q")), ActualLRPInstanceChanged(running("q"), running("q", tag_index=1))
    )

    assert asked_for(viewed) == {"q"}
    viewed.relist([], [], scope=Scope(frozenset(), frozenset({"q"})))
    viewed.apply(ActualLRPInstanceChanged(running("q", tag_index=1), running("q", tag_index=2)))
    assert asked_for(viewed) == set(), "it was asked for already"


def test_the_read_brings_the_routes() -> None:
    viewed = following()
    viewed.apply(ActualLRPInstanceCreated(running()))

    viewed.relist([], [LRP], scope=Scope(frozenset(), asked_for(viewed)))

    assert routed(viewed)


@pytest.mark.parametrize("other", [row("q"), running("p", index=1)])
def test_what_does_not_run_or_has_its_desired_lrp_is_not_read(other: ActualLRP) -> None:
    viewed = following(LRP)
    viewed.apply(ActualLRPInstanceCreated(other))

    assert asked_for(viewed) == set()


def test_a_targeted_read_that_does_not_find_it_keeps_the_routes_of_a_stale_domain() -> None:
    viewed = following(LRP)

    viewed.relist([], [], scope=Scope(frozenset(), frozenset({"p"})))

    assert viewed.session.knowledge.store.desired("p") is None
    assert routed(viewed)


def test_a_targeted_read_that_does_not_find_it_withdraws_the_routes_of_a_fresh_domain() -> None:
    viewed = following(LRP, domains=["apps"])

    viewed.relist([], [], scope=Scope(frozenset(), frozenset({"p"})))

    assert not routed(viewed)


def test_a_read_of_rows_alone_vouches_for_no_desired_lrp() -> None:
    viewed = lost()

    viewed.relist([running()], [], scope=Scope(frozenset({"p"}), frozenset()))

    assert routed(viewed)


# The table itself


def test_it_holds_what_lists_lacked_and_no_more() -> None:
    retained = Retained(limit=10)
    other = desired("q", domain="tasks")

    assert retained.apply_list(removals(Delta("p", LRP, None), Delta("q", other, None)), frozenset({"tasks"})) == ()
    assert (len(retained), retained.guids(), retained.get("p"), retained.get("q")) == (1, ["p"], LRP, None)
    assert retained.apply_list(removals(Delta("p", None, LRP)), frozenset()) == ()
    assert len(retained) == 0


def test_an_event_about_no_desired_lrp_decides_nothing() -> None:
    retained = Retained(limit=10)
    retained.apply_list(removals(Delta("p", LRP, None)), frozenset())

    assert retained.apply_event(ActualLRPInstanceCreated(running()), there=False) == ()
    assert retained.apply_event(DesiredLRPChanged(LRP, LRP), there=False) == ()
    assert retained.apply_event(DesiredLRPChanged(LRP, LRP), there=True) == ("p",)
    assert retained.apply_event(DesiredLRPRemoved(LRP), there=False) == ()


def test_cells_stay_where_a_list_has_none_of_them() -> None:
    viewed = following(LRP)
    viewed.relist([running()], [LRP], cells=[cell("one")])

    viewed.relist([], [], scope=Scope(frozenset({"p"}), frozenset()))

    viewed.check()
    assert viewed["Cells"]["one"].present
