"""What a process shows of itself: metrics, and whether it is alive and ready."""

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec
import pytest
import trio
import trio.lowlevel
from prometheus_client.parser import text_string_to_metric_families
from replica_support import QUICK, http, on_loopback, replicating
from sim_support import A, diego, row, run, wanted

from lrpmirror import BBSClient, Status
from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.lists.difference import KINDS
from lrpmirror.errors import ConnectionFailed, ListNotBelieved, LRPMirrorError, UpstreamStale
from lrpmirror.events import ActualLRPInstanceCreated, UnknownEvent
from lrpmirror.serve.health import SILENCE, readiness
from lrpmirror.serve.ops import ops_routes
from lrpmirror.serve.serving import ServedReplica
from lrpmirror.server import LIMIT
from lrpmirror.sim import Diego, ServedDiego, serve_diego

Metrics = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


async def ask(url: str, path: str) -> httpx.Response:
    async with http() as client:
        return await client.get(f"{url}{path}")


async def metrics(replica: ServedReplica) -> Metrics:
    reply = await ask(replica.url, "/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name.removeprefix("lrpmirror_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def value(found: Metrics, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def running() -> Diego:
    simulated = diego()
    simulated.desire(wanted(instances=2))
    run(simulated, A)
    return simulated


async def cut(served: ServedDiego, replica: ServedReplica) -> None:
    await served.host.refuse()
    served.host.cut()
    await replica.mirror.wait_for(lambda mirror: not mirror.status.live, 5)


async def mend(served: ServedDiego, replica: ServedReplica) -> None:
    await served.host.accept()
    await replica.mirror.wait_for(lambda mirror: mirror.status.live, 5)


# Metrics


@on_loopback
async def test_the_state_is_counted() -> None:
    simulated = running()
    async with serve_diego(simulated) as served, replicating(served.url, routes=ops_routes) as replica:
        await replica.mirror.wait_synced(5)
        found = await metrics(replica)
        assert value(found, "actual_lrps") == 2
        assert value(found, "desired_lrps") == 1
        assert value(found, "cells") == 3
        assert value(found, "domains") == 1
        assert value(found, "revision") == replica.mirror.revision == 1
        assert 0 <= value(found, "age_seconds") <= value(found, "synced_age_seconds") < 5
        assert 0 <= value(found, "state_age_seconds") <= value(found, "stream_silence_seconds") < 5
        assert not [key for key in found if key[0] == "trouble"]
        phases = {phase.value: value(found, "phase", phase=phase.value) for phase in Phase}
        assert phases == {"live": 1, **dict.fromkeys(set(phases) - {"live"}, 0)}


@on_loopback
async def test_events_are_counted_by_type_and_by_what_became_of_them() -> None:
    simulated = running()
    old = row(simulated)
    async with serve_diego(simulated) as served, replicating(served.url, routes=ops_routes) as replica:
        await replica.mirror.wait_synced(5)
        simulated.crash("p", 0, A)
        simulated._publish("instances", ActualLRPInstanceCreated(old))
        for _ in range(2):
            simulated._publish("instances", UnknownEvent("actual_lrp_of_tomorrow"))
        simulated.update_desired("p", annotation="the last")
        await replica.mirror.wait_for(lambda mirror: mirror.desired_lrps()[0].annotation == "the last", 5)
        found = await metrics(replica)
        assert value(found, "events_total", type="actual_lrp_crashed", verdict="noted") == 1
        assert value(found, "events_total", type="actual_lrp_instance_created", verdict="applied") == 1
        assert value(found, "events_total", type="actual_lrp_instance_created", verdict="stale") == 1
        assert value(found, "events_total", type="actual_lrp_instance_removed", verdict="left") == 1
        assert value(found, "events_total", type="desired_lrp_changed", verdict="applied") == 1
        assert value(found, "unknown_events_total", type="actual_lrp_of_tomorrow") == 2
        assert value(found, "commits_total", cause="event") == 2


@on_loopback
async def test_a_server_that_makes_up_types_of_events_does_not_make_up_as_many_metrics() -> None:
    simulated = running()
    async with serve_diego(simulated) as served, replicating(served.url, routes=ops_routes) as replica:
        await replica.mirror.wait_synced(5)
        for number in range(50):
            simulated._publish("instances", UnknownEvent(f"made_up_{number}"))
        simulated.update_desired("p", annotation="the last")
        await replica.mirror.wait_for(lambda mirror: mirror.desired_lrps()[0].annotation == "the last", 5)
        found = await metrics(replica)
        unknown = {key: number for key, number in found.items() if key[0] == "unknown_events_total"}
        assert len(unknown) == 21
        assert sum(unknown.values()) == 50
        assert value(found, "unknown_events_total", type="other") == 30


@on_loopback
async def test_lists_are_counted_by_cause_and_reconnections_and_errors_by_kind() -> None:
    simulated = running()
    async with serve_diego(simulated) as served, replicating(served.url, routes=ops_routes) as replica:
        await replica.mirror.wait_synced(5)
        await cut(served, replica)
        simulated.fail("p", 1, "no cell")
        assert value(await metrics(replica), "trouble", error="ConnectionFailed") == 1
        await mend(served, replica)
        replica.mirror.resync()
        await replica.mirror.wait_for(lambda mirror: mirror.counts.lists.get("audit") == 1, 5)
        found = await metrics(replica)
        assert value(found, "lists_total", cause="first") == 1
        assert value(found, "lists_total", cause="reconnect") == 1
        assert value(found, "lists_total", cause="audit") == 1
        assert value(found, "reconnects_total") == 1
        assert value(found, "commits_total", cause="snapshot") == 2
        assert value(found, "errors_total", error="ConnectionFailed") >= 1
        assert value(found, "decode_errors_total") == 0
        assert value(found, "drift_total", kind="row behind") == 0
        assert (value(found, "stream_replacements_total"), value(found, "lists_held_total")) == (0, 0)
        assert (value(found, "rollbacks_total"), value(found, "rolled_back_total")) == (0, 0)


@on_loopback
async def test_metrics_tell_of_a_server_that_was_set_back() -> None:
    simulated = diego()
    simulated.desire(wanted())
    backup = simulated.backup()
    async with serve_diego(simulated) as served, replicating(served.url, routes=ops_routes) as replica:
        await replica.mirror.wait_synced(5)
        run(simulated, A)
        await replica.mirror.wait_for(lambda mirror: mirror.instance(A.instance_guid) is not None, 5)
        simulated.restore(backup)
        replica.mirror.resync()
        await replica.mirror.wait_for(lambda mirror: mirror.instance(A.instance_guid) is None, 5)
        found = await metrics(replica)
        assert (value(found, "rollbacks_total"), value(found, "rolled_back_total")) == (1, 1)
        assert sum(value(found, "drift_total", kind=kind) for kind in KINDS) == 0


@on_loopback
async def test_what_an_audit_finds_different_is_drift() -> None:
    simulated = running()
    async with serve_diego(simulated) as served, replicating(served.url, routes=ops_routes) as replica:
        await replica.mirror.wait_synced(5)
        # A change whose event was lost.
        simulated.adopt(rows=[_next_version(row(simulated))])
        replica.mirror.resync()
        await replica.mirror.wait_for(lambda mirror: mirror.counts.drift == 1, 5)
        assert value(await metrics(replica), "drift_total", kind="row behind") == 1


@on_loopback
async def test_events_that_cannot_be_read_are_counted_and_cost_no_stream() -> None:
    simulated = running()
    async with serve_diego(simulated) as served, replicating(served.url, routes=ops_routes) as replica:
        await replica.mirror.wait_synced(5)
        simulated._publish("instances", UnknownEvent("desired_lrp_created", b"\xff"))
        simulated.desire(wanted("q"))
        await replica.mirror.wait_for(lambda mirror: mirror.desired_lrp("q") is not None, 5)
        found = await metrics(replica)
        assert value(found, "decode_errors_total") == 1
        assert value(found, "events_total", type="unreadable", verdict="noted") == 1
        assert value(found, "reconnects_total") == 0


@on_loopback
async def test_repairs_and_tombstones_are_counted() -> None:
    simulated = diego()
    simulated.desire(wanted())
    slow = msgspec.structs.replace(QUICK, repair_delay=3600)
    async with serve_diego(simulated) as served, replicating(served.url, routes=ops_routes, tuning=slow) as replica:
        await replica.mirror.wait_synced(5)
        run(simulated, A)
        simulated.evacuate_running("p", 0, A)
        simulated.remove_evacuating("p", 0, A)
        await replica.mirror.wait_for(lambda mirror: len(mirror.actual_lrps()) == 1 and mirror.revision == 6, 5)
        found = await metrics(replica)
        assert value(found, "repairs_pending") == 1
        assert value(found, "repairs_dropped_total") == 0
        assert value(found, "tombstones") == 1


@on_loopback
async def test_subscribers_and_what_they_have_not_seen_are_counted() -> None:
    simulated = running()
    async with serve_diego(simulated) as served, replicating(served.url, routes=ops_routes) as replica:
        await replica.mirror.wait_synced(5)
        async with replica.mirror.changes(), replica.mirror.changes_desired(replay=False):
            found = await metrics(replica)
        assert value(found, "subscribers") == 2
        assert value(found, "subscriber_pending_keys") == 2
        assert value(found, "subscriber_lag_seconds") >= 0
        assert value(await metrics(replica), "subscribers") == 0


@on_loopback
async def test_the_readers_of_streams_are_counted_and_those_that_fell_behind() -> None:
    simulated = running()
    async with serve_diego(simulated) as served, replicating(served.url, routes=ops_routes) as replica:
        await replica.mirror.wait_synced(5)
        async with BBSClient(replica.url) as client, client.events("groups"):
            slow = replica.replica.subscribe("instances")
            simulated.fail("p", 1, "no cell")
            await replica.mirror.wait_for(lambda mirror: mirror.revision == 2, 5)
            found = await metrics(replica)
            assert value(found, "replica_subscribers", stream="instances") == 1
            assert value(found, "replica_subscribers", stream="groups") == 1
            assert value(found, "replica_pending_events", stream="instances") == 1
            assert value(found, "replica_subscribers_dropped_total") == 0
            for number in range(LIMIT):
                simulated.update_desired("p", annotation=str(number))
                if number % 100 == 0:
                    await trio.lowlevel.checkpoint()
            await replica.mirror.wait_for(lambda _: slow.closed, 5)
        found = await metrics(replica)
        assert value(found, "replica_subscribers", stream="instances") == 0
        assert value(found, "replica_subscribers_dropped_total") == 1
        assert value(found, "replica_closures_total") == 0


def _next_version(old: Any) -> Any:
    return msgspec.structs.replace(old, tag_index=old.tag_index + 1, since=old.since + 1)


# Health


@on_loopback
async def test_a_process_is_alive_also_without_a_bbs() -> None:
    async with replicating("http://127.0.0.1:9", routes=ops_routes) as replica:
        assert (await ask(replica.url, "/healthz")).status_code == 200
        assert (await ask(replica.url, "/metrics")).status_code == 200


@on_loopback
async def test_a_replica_is_ready_when_it_is_synchronised_and_says_why_when_it_is_not() -> None:
    async with (
        serve_diego(running(), available=False) as served,
        replicating(served.url, routes=ops_routes) as replica,
    ):
        await replica.mirror.wait_for(lambda mirror: mirror.status.last_error is not None, 5)
        reply = await ask(replica.url, "/readyz")
        assert reply.status_code == 503
        assert reply.json()["ready"] is False
        assert "not synchronised" in reply.json()["cause"]
        assert "ServiceUnavailable" in reply.json()["last_error"]
        served.app.available = True
        await replica.mirror.wait_synced(5)
        reply = await ask(replica.url, "/readyz")
        assert reply.status_code == 200
        assert (reply.json()["ready"], reply.json()["cause"], reply.json()["phase"]) == (True, "", "live")
        await cut(served, replica)
        reply = await ask(replica.url, "/readyz")
        assert reply.status_code == 503
        assert "stale" in reply.json()["cause"]
        await mend(served, replica)
        assert (await ask(replica.url, "/readyz")).status_code == 200


def status(
    phase: Phase, age: float | None, trouble: LRPMirrorError | None = None, state_age: float | None = None
) -> Status:
    return Status(
        phase=phase,
        revision=7,
        at=1000.0,
        synced_at=0.0,
        alive_at=None if age is None else 1000.0 - age,
        heard_at=900.0,
        current_at=1000.0 - (state_age or age or 0.0),
        trouble=trouble,
        last_error=ConnectionFailed("refused"),
        actual_lrps=1,
        desired_lrps=1,
    )


@pytest.mark.parametrize("phase", Phase)
def test_only_a_live_mirror_is_ready_and_every_other_phase_has_its_cause(phase: Phase) -> None:
    judged = readiness(status(phase, 1.0))
    assert judged.ready is (phase is Phase.LIVE)
    assert bool(judged.cause) is not judged.ready
    assert judged.last_error == "ConnectionFailed: refused"


def test_a_live_mirror_whose_bbs_has_fallen_silent_is_not_ready() -> None:
    assert readiness(status(Phase.LIVE, SILENCE)).ready
    judged = readiness(status(Phase.LIVE, SILENCE + 1))
    assert not judged.ready
    assert "no proof of life for 61 s" in judged.cause


def test_a_mirror_of_a_replica_that_shows_no_longer_that_it_is_current_is_not_ready() -> None:
    assert readiness(status(Phase.LIVE, 1.0, state_age=SILENCE)).ready
    judged = readiness(status(Phase.LIVE, 1.0, state_age=SILENCE + 1))
    assert "has not shown for 61 s" in judged.cause
    judged = readiness(status(Phase.STALE, 1.0, UpstreamStale("ConnectionFailed")))
    assert judged.cause == "stale: who is followed has lost the BBS itself, and says: ConnectionFailed"


def test_a_list_that_is_not_believed_is_the_cause_and_its_numbers_are_told() -> None:
    judged = readiness(status(Phase.STALE, 1.0, ListNotBelieved("a list would remove 30 of 30 rows")))
    assert judged.cause == "stale: a list would remove 30 of 30 rows"
    assert judged.trouble == "ListNotBelieved: a list would remove 30 of 30 rows"
    assert (judged.age, judged.silence, judged.state_age) == (1.0, 100.0, 1.0)


def test_a_live_mirror_with_a_trouble_is_ready_and_tells_it() -> None:
    judged = readiness(status(Phase.LIVE, 1.0, ConnectionFailed("no ping")))
    assert judged.ready
    assert judged.trouble == "ConnectionFailed: no ping"
