"""Tombstones: what is remembered of records that are gone, for how long, and how many."""

from lrpmirror.core.rows.dispatch import Tombstones
from lrpmirror.core.rows.tombstones import Tombstone, TombstoneTable


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
