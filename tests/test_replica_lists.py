"""What a replica answers, asked as a BBS is: the same as the BBS, or nothing."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from replica_support import following, groups_of, lists, lrps_of, on_loopback, replicating, rows_of, send, settled
from sim_support import A, B, diego, run, wanted

from lrpmirror import TLS, BBSClient
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.errors import (
    ConfigurationError,
    ConnectionFailed,
    RequestRefused,
    ResourceNotFound,
    ServiceUnavailable,
)
from lrpmirror.serve.serving import ServedReplica
from lrpmirror.server import mutual_tls
from lrpmirror.sim import Autopilot, Diego, serve_diego


@asynccontextmanager
async def replica_of(simulated: Diego, **options: Any) -> AsyncIterator[tuple[BBSClient, BBSClient, ServedReplica]]:
    """A client of the simulation, one of its replica, and the replica once it has synchronised."""
    async with (
        serve_diego(simulated) as served,
        replicating(served.url, **options) as replica,
        BBSClient(served.url) as there,
        BBSClient(replica.url) as here,
    ):
        await replica.mirror.wait_synced(5)
        await settled(replica.mirror)
        yield there, here, replica


def lively() -> Diego:
    made = Diego(seed=5)
    Autopilot(made, seed=5, apps=12, cells=4).run(90)
    made.desire(wanted("other", domain="other-domain"))
    return made


@on_loopback
async def test_every_list_is_that_of_the_bbs() -> None:
    async with replica_of(lively()) as (there, here, _):
        assert await lists(here) == await lists(there)
        assert await here.ping()


@on_loopback
async def test_every_filter_of_rows_gives_what_the_bbs_gives() -> None:
    simulated = lively()
    some = next(row for row in simulated.actual_lrps() if row.cell_id)
    filters: list[dict[str, Any]] = [
        {"domain": some.domain},
        {"domain": "other-domain"},
        {"cell_id": some.cell_id},
        {"process_guid": some.process_guid},
        {"index": 0},
        {"process_guid": some.process_guid, "index": some.index},
        {"process_guid": some.process_guid, "cell_id": some.cell_id, "domain": some.domain, "index": some.index},
        {"process_guid": some.process_guid, "domain": "other-domain"},
        {"cell_id": "no-such-cell"},
        {"process_guid": "no-such-process"},
    ]
    async with replica_of(simulated) as (there, here, _):
        for each in filters:
            assert rows_of(await here.actual_lrps(**each)) == rows_of(await there.actual_lrps(**each)), each
        guids = [some.process_guid, "other", "no-such-process", some.process_guid]
        mine = await here.actual_lrps_by_process_guids(guids)
        assert rows_of(mine) == rows_of(await there.actual_lrps_by_process_guids(guids))


@on_loopback
async def test_every_filter_of_groups_gives_what_the_bbs_gives() -> None:
    simulated = diego()
    simulated.desire(wanted(instances=3))
    run(simulated, A, 0)
    run(simulated, B, 1)
    simulated.evacuate_running("p", 0, A)
    simulated.lose_cell("cell-b")
    simulated.converge()
    async with replica_of(simulated) as (there, here, _):
        for each in ({}, {"domain": "cf-apps"}, {"cell_id": "cell-a"}, {"cell_id": "cell-b"}, {"domain": "none"}):
            assert groups_of(await here.actual_lrp_groups(**each)) == groups_of(await there.actual_lrp_groups(**each))
        assert len(await here.actual_lrp_groups()) == 3
        assert groups_of(await here.actual_lrp_groups_by_process_guid("p")) == groups_of(
            await there.actual_lrp_groups_by_process_guid("p")
        )
        one = await here.actual_lrp_group_by_process_guid_and_index("p", 0)
        assert one == await there.actual_lrp_group_by_process_guid_and_index("p", 0)
        assert one.evacuating is not None
        with pytest.raises(ResourceNotFound):
            await here.actual_lrp_group_by_process_guid_and_index("p", 3)


@on_loopback
async def test_every_filter_of_desired_lrps_gives_what_the_bbs_gives() -> None:
    simulated = lively()
    some = simulated.desired_lrps()[0]
    app, guid = some.process_guid[:36], some.process_guid
    filters: list[dict[str, Any]] = [
        {"domain": "other-domain"},
        {"process_guids": [guid, "other", "none"]},
        {"app_guids": [app, "no-such-app"]},
        {"domain": "other-domain", "process_guids": [guid, "other"]},
        {"domain": some.domain, "process_guids": [guid, "other"], "app_guids": [app]},
        {"process_guids": ["other"], "app_guids": [app]},
        {"domain": "none"},
    ]
    async with replica_of(simulated, detail="full") as (there, here, _):
        for each in filters:
            for ask in ("scheduling_infos", "routing_infos", "desired_lrps"):
                mine, theirs = await getattr(here, ask)(**each), await getattr(there, ask)(**each)
                assert lrps_of(mine) == lrps_of(theirs), (ask, each)
        assert await here.scheduling_info(guid) == await there.scheduling_info(guid)
        with pytest.raises(ResourceNotFound):
            await here.scheduling_info("none")


@on_loopback
async def test_with_full_detail_whole_desired_lrps_are_those_of_the_bbs() -> None:
    async with replica_of(lively(), detail="full") as (there, here, _):
        mine = {lrp.process_guid: lrp for lrp in await here.desired_lrps(full=True)}
        theirs = {lrp.process_guid: lrp for lrp in await there.desired_lrps(full=True)}
        assert mine == theirs
        assert any(lrp.detail is not None for lrp in mine.values())
        guid = next(iter(mine))
        assert await here.desired_lrp(guid, full=True) == theirs[guid]


@on_loopback
async def test_without_full_detail_whole_desired_lrps_are_refused_and_how_to_have_them_is_said() -> None:
    async with replica_of(lively()) as (_, here, _replica):
        for ask in (here.desired_lrps, lambda: here.desired_lrp("other")):
            with pytest.raises(RequestRefused, match="--detail full"):
                await ask()


@on_loopback
async def test_without_full_detail_a_follower_reads_single_desired_lrps_by_their_parts() -> None:
    simulated = lively()
    async with replica_of(simulated) as (_, _here, replica), following(replica.url) as mirror:
        await mirror.wait_synced(5)
        guid = simulated.desired_lrps()[0].process_guid
        mirror._session.knowledge.store.remove_desired(guid)
        mirror._session.repairs.add(guid, RepairReason.DESIRED)
        mirror._follower._repairs_wanted.set()
        await mirror.wait_for(lambda mirror: mirror.desired_lrp(guid) is not None, 5)
        assert lrps_of(mirror.desired_lrps()) == lrps_of(simulated.desired_lrps())


@on_loopback
async def test_domains_and_cells_follow_the_bbs_though_it_sends_no_events_about_them() -> None:
    simulated = diego()
    async with replica_of(simulated) as (_, here, replica):
        simulated.upsert_domain("later")
        simulated.add_cell("cell-later")
        before = replica.replica.domains()
        while replica.replica.domains() == before:  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.01)
        assert sorted(await here.domains()) == ["cf-apps", "later"]
        assert "cell-later" in {cell.cell_id for cell in await here.cells()}
        assert replica.mirror.counts.lists == {"first": 1}


@on_loopback
async def test_everything_is_answered_with_503_until_the_first_synchronisation() -> None:
    simulated = diego()
    async with (
        serve_diego(simulated, available=False) as served,
        replicating(served.url) as replica,
        BBSClient(replica.url) as client,
    ):
        asks: list[Callable[[], Any]] = [client.ping, client.actual_lrps, client.domains, client.scheduling_infos]
        for ask in asks:
            with pytest.raises(ServiceUnavailable):
                await ask()
        with pytest.raises(ServiceUnavailable):
            async with client.events("instances"):
                pass
        served.app.available = True
        await replica.mirror.wait_synced(5)
        assert await client.ping()


@on_loopback
async def test_when_the_bbs_is_gone_the_last_state_is_answered() -> None:
    simulated = lively()
    async with serve_diego(simulated) as served, replicating(served.url) as replica, BBSClient(replica.url) as client:
        await replica.mirror.wait_synced(5)
        await settled(replica.mirror)
        await served.host.refuse()
        served.host.cut()
        await replica.mirror.wait_for(lambda mirror: not mirror.status.live, 5)
        assert rows_of(await client.actual_lrps()) == rows_of(simulated.actual_lrps())
        assert await client.ping()


WRITES = [
    "/v1/desired_lrp/desire.r2",
    "/v1/desired_lrp/update",
    "/v1/desired_lrp/remove",
    "/v1/actual_lrps/claim",
    "/v1/actual_lrps/start",
    "/v1/actual_lrps/start.r1",
    "/v1/actual_lrps/crash",
    "/v1/actual_lrps/fail",
    "/v1/actual_lrps/retire",
    "/v1/actual_lrps/remove",
    "/v1/actual_lrps/evacuate_claimed",
    "/v1/actual_lrps/evacuate_running",
    "/v1/actual_lrps/evacuate_running.r1",
    "/v1/actual_lrps/evacuate_stopped",
    "/v1/actual_lrps/evacuate_crashed",
    "/v1/actual_lrps/remove_evacuating",
    "/v1/domains/upsert",
    "/v1/tasks/list",
]


@on_loopback
async def test_writes_are_refused_in_the_reply_which_says_whose_replica_this_is() -> None:
    async with replica_of(diego()) as (there, _, replica):
        for path in WRITES:
            reply = await send(replica.url, path)
            assert reply.status == 200, path
            assert reply.error.type == 4, path  # InvalidRequest
            assert f"read replica of {there.url}" in reply.error.message, path


@on_loopback
async def test_a_refused_evacuation_tells_the_cell_to_keep_the_container() -> None:
    async with replica_of(diego()) as (_, _here, replica):
        assert (await send(replica.url, "/v1/actual_lrps/evacuate_running")).keep_container
        assert not (await send(replica.url, "/v1/actual_lrps/claim")).keep_container


@on_loopback
async def test_a_path_that_nobody_knows_is_answered_with_404() -> None:
    async with replica_of(diego()) as (_, _here, replica):
        assert (await send(replica.url, "/v1/actual_lrps_of_tomorrow")).status == 404


@on_loopback
async def test_the_listener_takes_only_clients_with_a_certificate_of_its_authority(tmp_path: Path) -> None:
    ca, server, client = (tmp_path / name for name in ("ca.pem", "server.pem", "client.pem"))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(server)
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(client)
    context = mutual_tls(ca=ca, cert=server, key=server)
    simulated = lively()
    async with serve_diego(simulated) as served, replicating(served.url, server_tls=context) as replica:
        await replica.mirror.wait_synced(5)
        assert replica.url.startswith("https://")
        async with BBSClient(replica.url, tls=TLS(ca=ca, cert=client)) as known:
            assert len(await known.actual_lrps()) == len(simulated.actual_lrps())
        async with BBSClient(replica.url, tls=TLS(ca=ca)) as stranger:
            with pytest.raises(ConnectionFailed):
                await stranger.actual_lrps()


@on_loopback
async def test_a_port_that_is_taken_is_said_to_be() -> None:
    async with replica_of(diego()) as (_, _here, replica):
        with pytest.raises((ConfigurationError, ExceptionGroup)) as raised:
            async with replicating(replica.url, port=replica.host.port):
                pass
        assert _only(raised.value, ConfigurationError)


def _only(error: BaseException, kind: type[BaseException]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_only(one, kind) for one in error.exceptions)
    return isinstance(error, kind)
