"""Probes: the process that changed last is read again, one interval after it changed."""

from core_support import LOST, created, settle, synced, unclaimed

from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.session import Session

P = Scope(frozenset({"p"}), frozenset({"p"}))


def probed(session: Session) -> Scope:
    """Change a process, and return the scope of the probe for it."""
    session.events([created(unclaimed())], 0)
    session.take_repairs()
    assert session.take_probe() is None, "one interval later"
    scope = session.take_probe()
    assert scope == P
    return scope


def test_a_probe_that_fails_makes_no_repair_and_comes_again() -> None:
    session = synced()
    scope = probed(session)
    session.list_failed(session.begin_list(1, scope), LOST)

    assert session.take_repairs() is None
    assert session.take_probe() == P


def test_a_repair_that_fails_while_there_is_a_probe_comes_again() -> None:
    session = synced()
    probed(session)
    session.list_failed(session.begin_list(1, Scope(frozenset({"p"}), frozenset({"p"}))), LOST)

    assert session.take_repairs() == P


def test_a_probe_that_finds_something_gone_has_found_a_loss() -> None:
    session = synced()
    snapshot = session.begin_list(1, probed(session))
    settle(snapshot)

    assert session.probes.is_lost(session.end_list(snapshot, 1))
    assert not session.probes.is_lost(None)
