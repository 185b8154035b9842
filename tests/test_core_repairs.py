"""The processes that are to be read again: what is gathered, what is left out, and the bound."""

import pytest
from core_support import synced, unclaimed

from lrpmirror.core.lists.repairs import Repairs
from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.events import ActualLRPInstanceCreated, ActualLRPInstanceRemoved


def rivals(_guid: str) -> bool:
    return True


def parted(_guid: str) -> bool:
    return False


def test_repairs_of_rows_and_of_desired_lrps_are_read_apart() -> None:
    repairs = Repairs(limit=10)
    for guid, reason in (
        ("p", RepairReason.AMBIGUOUS),
        ("q", RepairReason.DESIRED),
        ("r", RepairReason.INCOMPLETE),
        ("r", RepairReason.DESIRED),
    ):
        repairs.add(guid, reason)

    assert len(repairs) == 3
    assert repairs.take(10, has_rivals=parted) == Scope(frozenset({"p", "r"}), frozenset({"q", "r"}))
    assert len(repairs) == 0
    assert repairs.take(10, has_rivals=parted) is None


def test_a_process_is_read_once_however_often_it_was_requested() -> None:
    repairs = Repairs(limit=10)
    for _ in range(5):
        repairs.add("p", RepairReason.AMBIGUOUS)

    assert repairs.take(10, has_rivals=parted) == Scope(frozenset({"p"}), frozenset())
    assert repairs.take(10, has_rivals=parted) is None


def test_rivals_that_have_parted_need_no_read() -> None:
    repairs = Repairs(limit=10)
    repairs.add("p", RepairReason.RIVALS)
    assert repairs.take(10, has_rivals=parted) is None
    assert len(repairs) == 0

    repairs.add("p", RepairReason.RIVALS)
    assert repairs.take(10, has_rivals=rivals) == Scope(frozenset({"p"}), frozenset())


def test_rivals_that_are_resolved_are_read_where_there_is_another_reason() -> None:
    repairs = Repairs(limit=10)
    repairs.add("p", RepairReason.RIVALS)
    repairs.add("p", RepairReason.INCOMPLETE)

    assert repairs.take(10, has_rivals=parted) == Scope(frozenset({"p"}), frozenset())


def test_the_oldest_are_read_first_and_the_rest_later() -> None:
    repairs = Repairs(limit=10)
    for guid in "abc":
        repairs.add(guid, RepairReason.AMBIGUOUS)

    assert repairs.take(2, has_rivals=parted) == Scope(frozenset("ab"), frozenset())
    assert repairs.take(2, has_rivals=parted) == Scope(frozenset("c"), frozenset())


def test_the_more_wait_the_more_are_read_at_once() -> None:
    session = synced(*(unclaimed(f"e{n}", process_guid=f"p{n}") for n in range(4_133)))
    for n in range(4_133):
        session.repairs.add(f"p{n}", RepairReason.INCOMPLETE)

    sizes = []
    while (scope := session.take_repairs()) is not None:
        sizes.append(len(scope.rows or ()))

    assert sizes == [1000, 1000, 1000, 1000, 133]


def test_of_processes_with_many_rows_fewer_are_read_at_once_and_at_least_one() -> None:
    sizes = {"one": 1, "large": 1_500, "huge": 9_000, "two": 2, "last": 700}
    repairs = Repairs(limit=10)
    for guid in sizes:
        repairs.add(guid, RepairReason.INCOMPLETE)
    repairs.add("of desired LRPs only", RepairReason.DESIRED)

    def take() -> list[str]:
        scope = repairs.take(100, has_rivals=parted, rows=lambda guid: sizes.get(guid, 0))
        assert scope is not None
        return sorted(scope.rows or ())

    assert take() == ["large", "one"]
    assert take() == ["huge"]
    assert take() == ["last", "two"]


def test_beyond_the_limit_the_oldest_is_left_to_the_next_list() -> None:
    repairs = Repairs(limit=2)
    for guid in "abc":
        repairs.add(guid, RepairReason.AMBIGUOUS)

    assert repairs.dropped == 1
    assert repairs.take(10, has_rivals=parted) == Scope(frozenset("bc"), frozenset())


def test_what_could_not_be_read_is_put_back() -> None:
    repairs = Repairs(limit=10)
    scope = Scope(frozenset({"p", "q"}), frozenset({"r"}))

    repairs.failed(scope, refused=False)

    assert repairs.take(10, has_rivals=parted) == scope


def _read(repairs: Repairs, scope: Scope, *, refused: str = "") -> bool:
    """Read a scope from a server that refuses one process."""
    if refused in (scope.rows or ()):
        repairs.failed(scope, refused=True)
        return False
    repairs.settled(scope)
    return True


def _many(number: int) -> Repairs:
    repairs = Repairs(limit=1000)
    for one in range(number):
        repairs.add(f"p{one}", RepairReason.AMBIGUOUS)
    return repairs


@pytest.mark.parametrize("refused", [f"p{one}" for one in range(0, 40, 3)])
def test_a_process_that_the_server_refuses_starves_no_other(refused: str) -> None:
    repairs = _many(40)
    done: set[str] = set()
    reads = 0
    while reads < 100 and (scope := repairs.take(16, has_rivals=parted)) is not None:
        reads += 1
        if _read(repairs, scope, refused=refused):
            done |= scope.rows or frozenset()

    assert done == {f"p{one}" for one in range(40)} - {refused}
    assert repairs.dropped == 1
    assert reads < 25


def test_batches_are_small_after_a_refusal_and_grow_again_once_it_is_found() -> None:
    repairs = _many(100)
    sizes: list[int] = []
    while len(sizes) < 100 and (scope := repairs.take(16, has_rivals=parted)) is not None:
        sizes.append(len(scope.rows or ()))
        _read(repairs, scope, refused="p0")

    assert sizes[:3] == [16, 8, 16]
    assert sizes[-3:] == [1, 1, 1]


def test_a_failure_that_no_process_causes_does_not_make_batches_smaller() -> None:
    repairs = _many(4)
    scope = repairs.take(4, has_rivals=parted)
    assert scope is not None

    for _ in range(10):
        repairs.failed(scope, refused=False)
        assert repairs.take(4, has_rivals=parted) == scope
    assert repairs.dropped == 0


def test_a_refusal_that_is_followed_by_an_answer_begins_anew() -> None:
    repairs = Repairs(limit=10)
    for refused in ["p", "p", "", "p", "p"]:
        repairs.add("p", RepairReason.AMBIGUOUS)
        scope = repairs.take(10, has_rivals=parted)
        assert scope is not None
        _read(repairs, scope, refused=refused)

    assert len(repairs) == 1
    assert repairs.dropped == 0


def test_clearing_forgets_all() -> None:
    repairs = Repairs(limit=10)
    repairs.failed(Scope(frozenset({"p", "q"}), frozenset({"p"})), refused=True)

    repairs.clear()

    assert repairs.take(10, has_rivals=rivals) is None
    for guid in "pqr":
        repairs.add(guid, RepairReason.DESIRED)
    assert repairs.take(10, has_rivals=rivals) == Scope(frozenset(), frozenset("pqr"))


def test_a_session_reads_rivals_only_while_they_are_rivals() -> None:
    session = synced(unclaimed("a"))
    session.events([ActualLRPInstanceCreated(unclaimed("b"))], 0)
    assert len(session.repairs) == 1

    session.events([ActualLRPInstanceRemoved(unclaimed("a"))], 0)

    assert session.take_repairs() is None
