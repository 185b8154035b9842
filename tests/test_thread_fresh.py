"""Freshness on a mirror in a thread of its own: the same as on a mirror."""

import inspect
import threading
from collections.abc import Callable

import pytest
from thread_support import PATIENCE, FakeBBS, desired, entered, row, synced

from lrpmirror import Mirror, MirrorThread, MirrorView, ThreadView, Tuning, views
from lrpmirror.errors import ConfigurationError, ConnectionFailed, MirrorError, NotFresh, NotSynced

READS: dict[str, Callable[[MirrorThread, float | None], object]] = {
    "rows": lambda mirror, age: mirror.actual_lrps("p", max_age=age),
    "groups": lambda mirror, age: mirror.actual_lrp_groups("p", max_age=age),
    "an instance": lambda mirror, age: mirror.instance("instance-p-0", max_age=age),
    "a desired LRP": lambda mirror, age: mirror.desired_lrp("p", max_age=age),
    "desired LRPs": lambda mirror, age: mirror.desired_lrps(max_age=age),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_may_insist_on_a_state_that_is_no_older(name: str) -> None:
    with synced(FakeBBS([row("p", 0)], [desired("p")])) as mirror:
        assert READS[name](mirror, PATIENCE) == READS[name](mirror, None)
        with pytest.raises(NotFresh, match="live"):
            READS[name](mirror, -1.0)


def test_a_view_may_insist_on_it_too() -> None:
    with synced(FakeBBS([row("p", 0)], [desired("p")])) as mirror:
        processes = mirror.view(views.Processes())
        assert processes.get("p", max_age=PATIENCE) == processes["p"]
        assert processes.get("nobody", 7) == 7
        assert processes.copy(max_age=PATIENCE) == {"p": processes["p"]}
        with pytest.raises(NotFresh):
            processes.get("p", max_age=-1.0)
        with pytest.raises(NotFresh):
            processes.copy(max_age=-1.0)


def test_what_keeps_the_mirror_from_being_fresh_is_the_cause() -> None:
    with entered(FakeBBS(refused=True)) as mirror:
        mirror.wait_for(lambda one: one.status.last_error is not None, PATIENCE)
        with pytest.raises(NotSynced) as late:
            mirror.wait_synced(timeout=0)
        assert isinstance(late.value.__cause__, ConnectionFailed)
        with pytest.raises(NotFresh, match=r"connecting and has no state yet.*refused") as caught:
            mirror.check_fresh(60)
        assert isinstance(caught.value.__cause__, ConnectionFailed)


def test_what_ended_the_thread_is_the_cause_and_the_state_ages() -> None:
    def fail(_: object) -> None:
        raise ValueError("no")

    mirror = MirrorThread(FakeBBS([row("p", 0)]))
    with pytest.raises(ValueError, match="no"), mirror:  # noqa: PT012 - the whole block is what ends
        mirror.wait_synced(PATIENCE)
        mirror.subscribe(fail)
        mirror.wait_for(lambda _: False, PATIENCE)
    with pytest.raises(NotFresh, match="closed") as caught:
        mirror.check_fresh(0)
    assert isinstance(caught.value.__cause__, MirrorError)
    mirror.check_fresh(PATIENCE)


def test_a_thread_that_is_kept_busy_is_not_fresh_for_long() -> None:
    busy, done = threading.Event(), threading.Event()

    def dawdle(_: object) -> None:
        busy.set()
        done.wait(PATIENCE)

    with synced(FakeBBS([row("p", 0)])) as mirror:
        mirror.subscribe(dawdle)
        busy.wait(PATIENCE)
        try:
            with pytest.raises(NotFresh, match="live"):  # noqa: PT012 - it is raised by one of many
                while not done.wait(0.001):
                    mirror.check_fresh(0.01)
        finally:
            done.set()


def test_the_stream_can_be_replaced() -> None:
    with synced(FakeBBS([row("p", 0)])) as mirror:
        mirror.reconnect()
        mirror.wait_for(lambda m: m._mirror.counts.replacements == 1, PATIENCE)
        assert mirror.status.live


def test_numbers_that_cannot_be_used_are_refused() -> None:
    with (
        pytest.raises(ConfigurationError, match=r"Tuning\.brake_share=3"),
        MirrorThread(FakeBBS(), tuning=Tuning(brake_share=3)),
    ):
        pass


@pytest.mark.parametrize(
    "name",
    ["check_fresh", "reconnect", "actual_lrps", "actual_lrp_groups", "instance", "desired_lrp", "desired_lrps"],
)
def test_reads_and_checks_have_the_signatures_of_a_mirrors(name: str) -> None:
    assert inspect.signature(getattr(MirrorThread, name)) == inspect.signature(getattr(Mirror, name))


@pytest.mark.parametrize("name", ["get", "copy"])
def test_reads_of_views_have_the_signatures_of_a_mirrors(name: str) -> None:
    # As text: the two have type variables of their own.
    assert str(inspect.signature(getattr(ThreadView, name))) == str(inspect.signature(getattr(MirrorView, name)))
