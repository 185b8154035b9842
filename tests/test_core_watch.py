"""The watch over a silent stream: when to ping, when it is dead, when it is to be replaced."""

import pytest

from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.core.freshness.watchdog import Watch
from lrpmirror.errors import ConnectionFailed, StreamDead, TimedOut

TUNING = Tuning(ping_interval=10, ping_failures=3, idle_limit=100)
ERROR = TimedOut("no answer")


def test_a_stream_is_pinged_when_it_was_silent_for_an_interval_and_again_after_each() -> None:
    watch = Watch(TUNING, 0)
    assert watch.wait(0) == 10
    assert not watch.ping_due(9.9)

    assert watch.ping_due(10)
    watch.answered()

    assert watch.wait(12) == 8
    assert not watch.ping_due(19.9)
    assert watch.ping_due(20)


def test_what_comes_on_the_stream_stands_for_a_ping() -> None:
    watch = Watch(TUNING, 0)
    watch.received(9)

    assert watch.wait(10) == 9
    assert not watch.ping_due(18.9)
    assert watch.ping_due(19)


def test_a_stream_is_dead_after_so_many_failed_pings_in_a_row() -> None:
    watch = Watch(TUNING, 0)
    for at in (10, 20):
        assert watch.ping_due(at)
        assert watch.failed(ERROR, at + 5) is None

    assert watch.ping_due(30)
    dead = watch.failed(ERROR, 35)

    assert isinstance(dead, StreamDead)
    assert isinstance(dead, ConnectionFailed)
    assert str(dead) == "the event stream has been silent for 35 s and 3 pings in a row failed, the last: no answer"
    assert dead.__cause__ is ERROR


@pytest.mark.parametrize("sign", [Watch.answered, lambda watch: watch.received(21)])
def test_an_answer_or_anything_on_the_stream_begins_the_count_anew(sign: object) -> None:
    watch = Watch(TUNING, 0)
    for at in (10, 20):
        assert watch.ping_due(at)
        watch.failed(ERROR, at)
    assert callable(sign)
    sign(watch)

    assert watch.ping_due(32)
    assert watch.failed(ERROR, 32) is None


def test_a_ping_that_fails_after_something_came_on_the_stream_does_not_count() -> None:
    watch = Watch(Tuning(ping_interval=10, ping_failures=1), 0)
    assert watch.ping_due(10)
    watch.received(11)

    assert watch.failed(ERROR, 15) is None


def test_a_stream_that_was_silent_for_long_is_to_be_replaced_which_is_returned_once() -> None:
    watch = Watch(Tuning(ping_interval=1000, idle_limit=100), 0)
    watch.received(50)
    assert watch.wait(60) == 90
    assert not watch.idle(149.9)

    assert watch.idle(150)
    assert not watch.idle(151)
    assert watch.wait(151) == 899


def test_what_is_overdue_is_due_now() -> None:
    assert Watch(TUNING, 0).wait(500) == 0
