"""The processes that are to be read again: what is gathered, what is left out, and the bound."""

from core_support import synced, unclaimed

from lrpmirror.core.reconcile import Doubt
from lrpmirror.core.repairs import Repairs
from lrpmirror.core.shadow import Scope
from lrpmirror.events import ActualLRPInstanceCreated, ActualLRPInstanceRemoved


def rivals(_guid: str) -> bool:
    return True


def parted(_guid: str) -> bool:
    return False


def test_doubts_of_rows_and_of_desired_lrps_are_read_apart() -> None:
    repairs = Repairs(limit=10)
    for guid, doubt in (("p", Doubt.AMBIGUOUS), ("q", Doubt.DESIRED), ("r", Doubt.INCOMPLETE), ("r", Doubt.DESIRED)):
        repairs.add(guid, doubt)

    assert len(repairs) == 3
    assert repairs.take(10, has_rivals=parted) == Scope(frozenset({"p", "r"}), frozenset({"q", "r"}))
    assert len(repairs) == 0
    assert repairs.take(10, has_rivals=parted) is None


def test_a_process_is_read_once_however_often_it_was_doubted() -> None:
    repairs = Repairs(limit=10)
    for _ in range(5):
        repairs.add("p", Doubt.AMBIGUOUS)

    assert repairs.take(10, has_rivals=parted) == Scope(frozenset({"p"}), frozenset())
    assert repairs.take(10, has_rivals=parted) is None


def test_rivals_that_have_parted_need_no_read() -> None:
    repairs = Repairs(limit=10)
    repairs.add("p", Doubt.RIVALS)
    assert repairs.take(10, has_rivals=parted) is None
    assert len(repairs) == 0

    repairs.add("p", Doubt.RIVALS)
    assert repairs.take(10, has_rivals=rivals) == Scope(frozenset({"p"}), frozenset())


def test_rivals_that_have_parted_are_read_where_there_is_another_doubt() -> None:
    repairs = Repairs(limit=10)
    repairs.add("p", Doubt.RIVALS)
    repairs.add("p", Doubt.INCOMPLETE)

    assert repairs.take(10, has_rivals=parted) == Scope(frozenset({"p"}), frozenset())


def test_the_oldest_are_read_first_and_the_rest_later() -> None:
    repairs = Repairs(limit=10)
    for guid in "abc":
        repairs.add(guid, Doubt.AMBIGUOUS)

    assert repairs.take(2, has_rivals=parted) == Scope(frozenset("ab"), frozenset())
    assert repairs.take(2, has_rivals=parted) == Scope(frozenset("c"), frozenset())


def test_beyond_the_limit_the_oldest_is_left_to_the_next_list() -> None:
    repairs = Repairs(limit=2)
    for guid in "abc":
        repairs.add(guid, Doubt.AMBIGUOUS)

    assert repairs.dropped == 1
    assert repairs.take(10, has_rivals=parted) == Scope(frozenset("bc"), frozenset())


def test_what_could_not_be_read_is_put_back() -> None:
    repairs = Repairs(limit=10)
    scope = Scope(frozenset({"p", "q"}), frozenset({"r"}))

    repairs.put_back(scope)

    assert repairs.take(10, has_rivals=parted) == scope


def test_clearing_forgets_all() -> None:
    repairs = Repairs(limit=10)
    repairs.add("p", Doubt.DESIRED)

    repairs.clear()

    assert repairs.take(10, has_rivals=rivals) is None


def test_a_session_reads_rivals_only_while_they_are_rivals() -> None:
    session = synced(unclaimed("a"))
    session.events([ActualLRPInstanceCreated(unclaimed("b"))], 0)
    assert len(session.repairs) == 1

    session.events([ActualLRPInstanceRemoved(unclaimed("a"))], 0)

    assert session.take_doubts() is None
