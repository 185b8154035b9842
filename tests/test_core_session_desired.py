"""Desired LRPs that a list lacks: retained while their domain is not fresh; and read for processes that run."""

from core_support import changed, created, desired, list_with_domains, running, synced, take_list, unclaimed

from lrpmirror.core.lists.scope import Scope
from lrpmirror.events import ActualLRPCreated, DesiredLRPCreated, DesiredLRPRemoved
from lrpmirror.model import ActualLRPGroup

# The desired LRP of what runs


def test_an_instance_that_runs_without_a_known_desired_lrp_has_it_read_once() -> None:
    session = synced()
    session.events([created(running("a", 0))], 0)
    assert session.take_repairs() == Scope(frozenset(), frozenset({"p"}))

    session.events([changed(running("a", 0), running("a", 1, routable=False))], 0)
    assert session.take_repairs() == Scope(frozenset({"p"}), frozenset()), "its rows, since it was started again"

    take_list(session, [running("a", 1, routable=False)])
    session.events([changed(running("a", 1), running("a", 2, address="10.0.0.9"))], 0)
    assert session.take_repairs() == Scope(frozenset({"p"}), frozenset({"p"})), "the next list begins anew"


def test_an_instance_that_runs_with_its_desired_lrp_has_nothing_read() -> None:
    session = synced(desired())

    session.events([created(running("a", 0)), ActualLRPCreated(ActualLRPGroup(running("b", 0, index=1)))], 0)

    assert session.take_repairs() is None


def test_a_desired_lrp_missing_from_a_list_is_retained_while_its_domain_is_not_fresh() -> None:
    session = synced(desired())

    list_with_domains(session)

    assert session.knowledge.store.desired("p") is None
    assert session.knowledge.process("p").desired is None
    assert session.knowledge.process("p").routed == desired()
    assert "p" in session.knowledge.process_guids()


def test_a_retained_desired_lrp_is_released_by_a_list_whose_domains_are_fresh() -> None:
    session = synced(desired())
    list_with_domains(session)

    commit = list_with_domains(session, "apps")

    assert commit is not None
    assert commit.released == ("p",)
    assert session.knowledge.process("p").routed is None


def test_a_desired_lrp_missing_from_a_list_of_a_fresh_domain_is_not_retained() -> None:
    session = synced(desired())

    list_with_domains(session, "apps")

    assert session.knowledge.process("p").routed is None
    assert session.knowledge.process_guids() == []


def test_an_event_decides_about_a_retained_desired_lrp() -> None:
    session = synced(desired())
    list_with_domains(session)

    (commit,) = session.events([DesiredLRPRemoved(desired())], 0)

    assert commit.released == ("p",)
    assert session.knowledge.process("p").routed is None


def test_a_desired_lrp_that_is_back_is_retained_no_longer() -> None:
    session = synced(desired())
    list_with_domains(session)

    list_with_domains(session, lrps=(desired(),))

    assert session.knowledge.process("p").routed == desired()
    assert session.events([DesiredLRPRemoved(desired())], 0)
    assert session.knowledge.process("p").routed is None


def test_a_retained_desired_lrp_is_not_touched_by_events_of_others() -> None:
    session = synced(desired())
    list_with_domains(session)

    session.events([created(unclaimed()), DesiredLRPCreated(desired("e", process_guid="q"))], 0)

    assert session.knowledge.process("p").routed == desired()
