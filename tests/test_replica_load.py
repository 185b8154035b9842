"""A replica with more readers than it can serve: who is slow, who is sent away, and that it is said."""

import logging
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from replica_support import http, on_loopback, replicating
from sim_support import A, diego, run, wanted

from lrpmirror import BBSClient
from lrpmirror.errors import ServiceUnavailable
from lrpmirror.events import DesiredLRPRemoved, Event, SourceStatus
from lrpmirror.model import DesiredLRP
from lrpmirror.serve.ops import ops_routes
from lrpmirror.serve.readers import BEHIND, CALM, FAR_BEHIND, LATE, MANY, PACE, SLICE, Load, Readers, hand_out
from lrpmirror.server import LIMIT, EncodedEvent, EncodedStatus, Subscription
from lrpmirror.server.streams import MOST
from lrpmirror.sim import serve_diego


def numbered(count: int, first: int = 0) -> list[Event]:
    return [DesiredLRPRemoved(DesiredLRP(process_guid=str(number))) for number in range(first, first + count)]


# Who is slow


def test_a_reader_that_comes_for_more_is_not_slow_however_much_waits_for_it() -> None:
    reader = Subscription("instances")
    for number, event in enumerate(numbered(3 * LIMIT)):
        reader.put(event)
        if number % 100 == 0:
            reader.take_some(50)
    assert not reader.closed
    assert len(reader) > LIMIT


def test_a_reader_that_does_not_come_for_more_since_so_many_events_has_fallen_behind() -> None:
    reader = Subscription("instances")
    for event in numbered(10):
        reader.put(event)
    reader.take_some(1)
    for event in numbered(LIMIT):
        reader.put(event)
    assert not reader.closed
    reader.put(numbered(1)[0])
    assert reader.fell_behind


def test_a_reader_that_comes_for_too_little_falls_behind_in_the_end() -> None:
    reader = Subscription("instances")
    for number, event in enumerate(numbered(2 * MOST)):
        assert len(reader) <= MOST
        reader.put(event)
        reader.take_some(number % 7 == 0)
    assert reader.fell_behind


# What is sent


def test_an_event_is_made_into_bytes_once_for_all_its_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Event] = []
    encode = EncodedEvent._encode

    def counted(notified: EncodedEvent) -> bytes:
        made.append(notified.event)
        return encode(notified)

    monkeypatch.setattr(EncodedEvent, "_encode", counted)
    readers = Readers()
    several = [readers.add("instances", "") for _ in range(5)]
    readers.put("instances", numbered(3))
    sent = {tuple(each.frame(number, 0.0) for number, each in enumerate(one.take_encoded(10))) for one in several}
    assert len(sent) == 1
    assert made == numbered(3)


def test_what_is_said_of_the_age_gets_older_on_the_way_and_takes_the_place_of_what_was_said_before() -> None:
    reader = Subscription("instances")
    for at in (1.0, 2.0):
        reader.add(EncodedStatus(SourceStatus(0.5), at))
    (notified,) = reader.take_encoded(10)
    assert notified.frame(0, 5.0) == EncodedStatus(SourceStatus(3.5), 0.0).frame(0, 0.0)
    assert len(reader) == 0
    reader.close()
    reader.add(EncodedStatus(SourceStatus(0.5), 1.0))
    assert reader.take_encoded(10) == []


def test_many_readers_are_told_of_what_has_come_together() -> None:
    async def main() -> None:
        readers = Readers(trio.current_time)
        several = [readers.add("instances", "") for _ in range(MANY + 1)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hand_out, readers)
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            for number in range(3):
                readers.put("instances", numbered(1, number))
                await trio.testing.wait_all_tasks_blocked()
            assert {len(each) for each in several} == {1}, "the first at once"
            await trio.sleep(PACE * len(several) / 2)
            assert {len(each) for each in several} == {1}
            await trio.sleep(PACE * len(several))
            assert {len(each) for each in several} == {3}
            assert trio.current_time() - began < 0.1
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# Who is sent away


def test_one_reader_that_is_behind_is_no_overload_and_most_of_them_are(caplog: pytest.LogCaptureFixture) -> None:
    load = Load()
    assert load.look([LIMIT, 0, 0], 0.0, 0.0) == 0
    assert load.trouble == ""
    assert load.look([BEHIND + 1] * 2 + [0], 0.0, 1.0) == 0
    assert "most of the 3 streams are 257 events behind" in load.trouble
    assert f"refuses new streams: {load.trouble}" in caplog.text
    with caplog.at_level(logging.WARNING):
        load.look([0, 0, 0], 0.0, 1.0 + CALM / 2)
        assert load.trouble
        load.look([0, 0, 0], 0.0, 1.0 + CALM)
    assert load.trouble == ""
    assert "keeps up with its 3 streams again" in caplog.text


def test_turns_that_come_late_are_an_overload_also_where_nobody_is_behind() -> None:
    load = Load()
    load.look([], LATE + 1, 0.0)
    assert "3.0 s late" in load.trouble


def test_where_most_are_far_behind_the_youngest_are_closed_and_the_others_are_not() -> None:
    readers = Readers()
    several = [readers.add("instances", "") for _ in range(20)]
    for number in range(FAR_BEHIND + 100):
        readers.put("instances", numbered(1, number))
        if number % 100 == 0:
            for each in several:
                each.take_encoded(1)
    readers.look(0.0)
    assert [each.closed for each in several] == [False] * 18 + [True] * 2
    assert readers.load.shed == 2


def test_where_more_comes_than_rounds_can_bring_readers_are_sent_away_until_they_can() -> None:
    readers = Readers()
    several = [readers.add("instances", "") for _ in range(MANY + 100)]
    most = 0
    for _ in range(60):
        # A round takes as long as there are readers: what comes meanwhile is more than a slice until some are gone.
        readers.put("instances", numbered(SLICE * len(readers.pending("instances")) // (MANY + 80)))
        most = max(most, len(readers._waiting))
        for _ in readers.round():
            pass
        for each in several:
            each.take_encoded(SLICE)
        readers.look(0.0)
    assert readers.load.shed
    assert 0 < len(readers.pending("instances")) <= MANY + 80
    assert len(readers.pending("instances")) == MANY + 100 - readers.load.shed
    assert not any(each.fell_behind for each in several)
    assert most < 2 * FAR_BEHIND


def test_a_large_commit_is_no_overload_though_more_comes_meanwhile() -> None:
    readers = Readers()
    several = [readers.add("instances", "") for _ in range(MANY + 100)]
    readers.put("instances", numbered(20 * SLICE))
    while readers.news.is_set():
        for _ in readers.round():
            pass
        for each in several:
            each.take_encoded(SLICE)
        readers.look(0.0)
        if readers.news.is_set():
            readers.put("instances", numbered(SLICE // 2))
    assert not readers.load.trouble
    assert not readers.load.shed


@on_loopback
async def test_new_streams_are_refused_while_the_others_cannot_be_kept_up_with_and_that_is_told() -> None:
    simulated = diego()
    simulated.desire(wanted())
    run(simulated, A)

    async def asked(path: str) -> httpx.Response:
        async with http() as client:
            return await client.get(f"{replica.url}{path}")

    async with (
        serve_diego(simulated) as served,
        replicating(served.url, routes=ops_routes) as replica,
        BBSClient(replica.url) as client,
    ):
        await replica.mirror.wait_synced(5)
        async with client.events("instances") as stream:
            assert (await asked("/readyz")).status_code == 200
            replica.replica.readers.load.look([], LATE + 1, trio.current_time())
            with pytest.raises(ServiceUnavailable):
                await opened(client)
            assert len(await client.actual_lrps()) == 1, "lists are answered"
            ready = await asked("/readyz")
            assert ready.status_code == 503
            assert "no more streams are taken: " in ready.json()["cause"]
            metrics = (await asked("/metrics")).text
            assert "lrpmirror_replica_overloaded 1.0" in metrics
            assert "lrpmirror_replica_streams_refused_total 1.0" in metrics
            simulated.update_desired("p", annotation="x")
            assert len(await anext(stream)) == 1, "the stream that there is goes on"


async def opened(client: BBSClient, **options: Any) -> None:
    async with client.events("instances", **options):
        pass
