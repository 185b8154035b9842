"""Tombstones: what is remembered of records that are gone, for how long, and how many."""

import pytest

from lrpmirror.core.rows.dispatch import Tombstones
from lrpmirror.core.rows.tombstones import AT_ONCE, MOST, Tombstone, TombstoneTable


def test_a_removed_record_is_known_by_its_last_version() -> None:
    tombstones = TombstoneTable(limit=10, age=60)
    tombstones.add("a", Tombstone(3, "i"))

    assert "a" in tombstones
    assert tombstones.get("a") == Tombstone(3, "i")
    assert tombstones.get("b") is None
    assert "b" not in tombstones


def test_an_older_memory_never_replaces_a_newer_one() -> None:
    tombstones = TombstoneTable(limit=10, age=60)
    tombstones.add("a", Tombstone(3, "i"))
    tombstones.add("a", Tombstone(2, "h"))
    assert tombstones.get("a") == Tombstone(3, "i")

    tombstones.add("a", Tombstone(4, "j"))
    assert tombstones.get("a") == Tombstone(4, "j")


def test_who_buries_a_record_again_is_not_known_to_mean_only_its_instance() -> None:
    tombstones = TombstoneTable(limit=10, age=60)
    tombstones.add("a", Tombstone(3, "i", left=True))

    tombstones.add("a", Tombstone(2, "i"))

    assert tombstones.get("a") == Tombstone(3, "i")


def test_that_a_record_lives_on_is_remembered_while_all_say_so() -> None:
    tombstones = TombstoneTable(limit=10, age=60)
    tombstones.add("a", Tombstone(3, "i", left=True))

    tombstones.add("a", Tombstone(2, "i", left=True))

    assert tombstones.get("a") == Tombstone(3, "i", left=True)


def test_beyond_the_limit_the_oldest_go_first() -> None:
    tombstones = TombstoneTable(limit=2, age=60)
    for key in ("a", "b", "a", "c"):
        tombstones.add(key, Tombstone(1))

    assert tombstones.keys() == ("a", "c")
    assert len(tombstones) == 2


def test_what_was_removed_longer_ago_than_the_age_is_forgotten() -> None:
    tombstones = TombstoneTable(limit=10, age=60)
    tombstones.advance(100)
    tombstones.add("a", Tombstone(1))
    tombstones.advance(130)
    tombstones.add("b", Tombstone(1))

    tombstones.advance(160)
    assert tombstones.keys() == ("a", "b"), "exactly at its age it is still remembered"
    tombstones.advance(161)
    assert tombstones.keys() == ("b",)
    tombstones.advance(1000)
    assert tombstones.keys() == ()


def test_a_record_that_is_removed_again_counts_from_then() -> None:
    tombstones = TombstoneTable(limit=10, age=60)
    tombstones.add("a", Tombstone(1))
    tombstones.advance(50)
    tombstones.add("a", Tombstone(1))

    tombstones.advance(100)

    assert "a" in tombstones


def test_a_record_that_is_known_to_live_is_forgotten() -> None:
    tombstones = TombstoneTable(limit=10, age=60)
    tombstones.add(("p", 0, 0), Tombstone(1))

    tombstones.discard(("p", 0, 0))
    tombstones.discard("never buried")

    assert len(tombstones) == 0


def test_a_copy_goes_its_own_way_with_the_same_bounds_and_clock() -> None:
    tombstones = TombstoneTable(limit=2, age=60)
    tombstones.advance(100)
    tombstones.add("a", Tombstone(1))
    copied = tombstones.copy()

    tombstones.discard("a")
    for key in ("b", "c"):
        copied.add(key, Tombstone(1))

    assert tombstones.keys() == ()
    assert copied.keys() == ("b", "c")
    copied.advance(160)
    assert copied.keys() == ("b", "c"), "the copy has the time of its original"


def test_the_tombstones_of_rows_and_of_desired_lrps_are_kept_apart() -> None:
    tombstones = Tombstones(limit=10, age=60)
    tombstones.rows.add("a", Tombstone(1))
    copied = tombstones.copy()
    tombstones.advance(100)

    assert "a" not in tombstones.rows
    assert "a" in copied.rows
    assert "a" not in copied.desired


# Many at once


def test_tombstones_that_are_added_together_replace_no_newer_ones_and_are_the_latest_added() -> None:
    tombstones = TombstoneTable(limit=3, age=60)
    tombstones.add("a", Tombstone(3, "i"))
    tombstones.add("b", Tombstone(1))

    tombstones.add_all({"a": Tombstone(2, presumed=True), "c": Tombstone(5, presumed=True)})

    assert tombstones.get("a") == Tombstone(3, "i")
    assert tombstones.get("c") == Tombstone(5, presumed=True)
    tombstones.add("d", Tombstone(1))
    assert set(tombstones.keys()) == {"a", "c", "d"}, "b was added before a was the last time"


def test_what_is_added_beyond_the_limit_at_once_goes_little_by_little() -> None:
    tombstones = TombstoneTable(limit=10, age=60)
    tombstones.add_all({f"e{n}": Tombstone(1) for n in range(AT_ONCE + 20)})

    tombstones.advance(1)
    assert len(tombstones) == 20
    tombstones.advance(2)
    assert tombstones.keys() == tuple(f"e{n}" for n in range(AT_ONCE + 10, AT_ONCE + 20))


def test_many_that_expire_together_go_little_by_little() -> None:
    tombstones = TombstoneTable(limit=10_000, age=60)
    tombstones.add_all({f"e{n}": Tombstone(1) for n in range(2 * AT_ONCE)})

    tombstones.advance(61)
    assert len(tombstones) == AT_ONCE
    for _ in range(2):
        tombstones.advance(61)
    assert len(tombstones) == 0


def test_many_are_discarded_together() -> None:
    tombstones = TombstoneTable(limit=10, age=60)
    tombstones.add_all({key: Tombstone(1) for key in "abc"})

    tombstones.discard_all(dict.fromkeys("bcd"))

    assert tombstones.keys() == ("a",)


def test_what_was_added_since_a_time_is_found_and_little_else() -> None:
    tombstones = TombstoneTable(limit=10 * MOST, age=900)
    for n in range(3 * MOST):
        tombstones.advance(n / 1000)
        tombstones.add(f"e{n}", Tombstone(1))

    found = tombstones.keys_since(2.9)

    assert {f"e{n}" for n in range(2900, 3 * MOST)} <= {*found}
    assert len(found) <= MOST


def test_no_call_takes_longer_for_what_was_discarded_before_it() -> None:
    """The first key of a dict is looked for among all that were removed before it: so none may have many of those."""
    tombstones = TombstoneTable(limit=10_000, age=60)
    for n in range(40 * MOST):
        tombstones.advance(n / 100)
        tombstones.add(f"e{n}", Tombstone(1))

    assert len(tombstones) == pytest.approx(6_000, rel=2 / 64 + 0.01)
    assert all(len(batch.tombstones) <= MOST for batch in tombstones._batches)
    assert sum(len(batch.tombstones) for batch in tombstones._batches) == len(tombstones)
