"""Tombstones: what is remembered of records that are gone, for how long, and how many."""

from lrpmirror.core.dispatch import Graveyard
from lrpmirror.core.tombstones import Tombstone, Tombstones


def test_a_buried_record_is_known_by_its_last_version() -> None:
    graves = Tombstones(limit=10, age=60)
    graves.bury("a", Tombstone(3, "i"))

    assert "a" in graves
    assert graves.get("a") == Tombstone(3, "i")
    assert graves.get("b") is None
    assert "b" not in graves


def test_an_older_memory_never_replaces_a_newer_one() -> None:
    graves = Tombstones(limit=10, age=60)
    graves.bury("a", Tombstone(3, "i"))
    graves.bury("a", Tombstone(2, "h"))
    assert graves.get("a") == Tombstone(3, "i")

    graves.bury("a", Tombstone(4, "j"))
    assert graves.get("a") == Tombstone(4, "j")


def test_who_buries_a_record_again_is_not_known_to_mean_only_its_instance() -> None:
    graves = Tombstones(limit=10, age=60)
    graves.bury("a", Tombstone(3, "i", left=True))

    graves.bury("a", Tombstone(2, "i"))

    assert graves.get("a") == Tombstone(3, "i")


def test_that_a_record_lives_on_is_remembered_while_all_say_so() -> None:
    graves = Tombstones(limit=10, age=60)
    graves.bury("a", Tombstone(3, "i", left=True))

    graves.bury("a", Tombstone(2, "i", left=True))

    assert graves.get("a") == Tombstone(3, "i", left=True)


def test_beyond_the_limit_the_oldest_go_first() -> None:
    graves = Tombstones(limit=2, age=60)
    for key in ("a", "b", "a", "c"):
        graves.bury(key, Tombstone(1))

    assert graves.keys() == ("a", "c")
    assert len(graves) == 2


def test_what_was_buried_longer_ago_than_the_age_is_forgotten() -> None:
    graves = Tombstones(limit=10, age=60)
    graves.advance(100)
    graves.bury("a", Tombstone(1))
    graves.advance(130)
    graves.bury("b", Tombstone(1))

    graves.advance(160)
    assert graves.keys() == ("a", "b"), "exactly at its age it is still remembered"
    graves.advance(161)
    assert graves.keys() == ("b",)
    graves.advance(1000)
    assert graves.keys() == ()


def test_a_record_that_is_buried_again_counts_from_then() -> None:
    graves = Tombstones(limit=10, age=60)
    graves.bury("a", Tombstone(1))
    graves.advance(50)
    graves.bury("a", Tombstone(1))

    graves.advance(100)

    assert "a" in graves


def test_a_record_that_is_known_to_live_is_forgotten() -> None:
    graves = Tombstones(limit=10, age=60)
    graves.bury(("p", 0, 0), Tombstone(1))

    graves.discard(("p", 0, 0))
    graves.discard("never buried")

    assert len(graves) == 0


def test_a_copy_goes_its_own_way_with_the_same_bounds_and_clock() -> None:
    graves = Tombstones(limit=2, age=60)
    graves.advance(100)
    graves.bury("a", Tombstone(1))
    twin = graves.copy()

    graves.discard("a")
    for key in ("b", "c"):
        twin.bury(key, Tombstone(1))

    assert graves.keys() == ()
    assert twin.keys() == ("b", "c")
    twin.advance(160)
    assert twin.keys() == ("b", "c"), "the copy has the time of its original"


def test_the_tombstones_of_rows_and_of_desired_lrps_are_kept_apart() -> None:
    graves = Graveyard(limit=10, age=60)
    graves.rows.bury("a", Tombstone(1))
    twin = graves.copy()
    graves.advance(100)

    assert "a" not in graves.rows
    assert "a" in twin.rows
    assert "a" not in twin.desired
