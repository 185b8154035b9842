"""A chain of replicas: how old the state is, is known at its end, whichever link breaks, and nobody calls it live."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from msgspec import Struct
from patience import PATIENCE
from replica_support import agree, following, http, on_loopback, replicating
from sim_support import TAGS, A, diego, run, wanted

from lrpmirror import BBSClient, Mirror, Phase
from lrpmirror.errors import ConfigurationError, ServiceUnavailable, UpstreamStale
from lrpmirror.events import SourceStatus
from lrpmirror.serve import replica as serving
from lrpmirror.serve.serving import ServedReplica
from lrpmirror.sim import Diego, ServedDiego, serve_diego


class Chain(Struct):
    """BBS, two replicas, and a mirror at the end."""

    diego: Diego
    bbs: ServedDiego
    near: ServedReplica
    far: ServedReplica
    end: Mirror

    @property
    def mirrors(self) -> list[Mirror]:
        return [self.near.mirror, self.far.mirror, self.end]

    async def stale(self, *mirrors: Mirror) -> None:
        for mirror in mirrors:
            await mirror.wait_for(lambda m: not m.status.live, 5, what="the loss")

    async def live(self) -> None:
        for mirror in self.mirrors:
            await mirror.wait_for(lambda m: m.status.live, 10, what="the end of the trouble")
            await agree(mirror, self.diego)


@asynccontextmanager
async def chain(max_age: float = 30.0) -> AsyncIterator[Chain]:
    simulated = diego()
    simulated.desire(wanted(instances=2))
    run(simulated, A)
    async with AsyncExitStack() as stack:
        bbs = await stack.enter_async_context(serve_diego(simulated))
        near = await stack.enter_async_context(replicating(bbs.url, max_age=max_age))
        await near.mirror.wait_synced(5)
        far = await stack.enter_async_context(replicating(near.url, max_age=max_age))
        await far.mirror.wait_synced(5)
        end = await stack.enter_async_context(following(far.url))
        await end.wait_synced(5)
        made = Chain(simulated, bbs, near, far, end)
        await made.live()
        yield made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEARTBEAT", 0.05)


@asynccontextmanager
async def cut(link: ServedDiego | ServedReplica) -> AsyncIterator[None]:
    """Nobody reaches it while the block lasts."""
    await link.host.refuse()
    link.host.cut()
    yield
    await link.host.accept()


@on_loopback
async def test_when_the_bbs_is_lost_nobody_in_the_chain_says_live_and_all_say_for_how_long() -> None:
    async with chain() as links:
        lost_at = trio.current_time()
        async with cut(links.bbs):
            await links.stale(*links.mirrors)
            await trio.sleep(0.3)
            gone = trio.current_time() - lost_at
            for mirror in links.mirrors:
                status = mirror.status
                assert status.phase in (Phase.STALE, Phase.RESYNCING)
                assert status.state_age is not None
                assert status.state_age >= gone - 0.01
            for mirror in links.mirrors[1:]:
                trouble = mirror.status.trouble
                assert isinstance(trouble, UpstreamStale)
                assert trouble.trouble == "ConnectionFailed", "what the first in the chain says"
            assert links.end.counts.streams == 1, "the streams behind it are good"
            links.diego.start("p", 0, A, routable=False, metric_tags=TAGS)
        await links.live()
        assert links.end.counts.streams == 1
        assert "reconnect" not in links.end.counts.lists


@pytest.mark.parametrize("link", ["near", "far"])
@on_loopback
async def test_when_a_replica_is_lost_all_behind_it_say_so(link: str) -> None:
    async with chain() as links:
        lost: ServedReplica = getattr(links, link)
        behind = links.mirrors[1 if link == "near" else 2 :]
        async with cut(lost):
            await links.stale(*behind)
            assert links.near.mirror.status.live
            links.diego.update_desired("p", annotation="meanwhile")
        await links.live()


@pytest.mark.parametrize("link", ["bbs", "near", "far"])
@on_loopback
async def test_when_a_link_falls_silent_the_age_grows_behind_it(link: str) -> None:
    async with chain() as links:
        silent: ServedDiego | ServedReplica = getattr(links, link)
        silent.host.pause()
        await trio.sleep(0.5)
        age = links.end.status.state_age
        assert age is not None
        assert age >= 0.4
        silent.host.resume()
        links.diego.update_desired("p", annotation="it speaks again")
        with trio.fail_after(PATIENCE):
            while (links.end.status.state_age or 0.0) > 0.3:  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.01)


@on_loopback
async def test_beyond_a_bound_a_replica_answers_nothing_and_closes_its_streams() -> None:
    async with chain(max_age=0.6) as links, BBSClient(links.near.url) as client, http() as plain:
        async with cut(links.bbs):
            await links.end.wait_for(lambda m: m.counts.errors.get("ServiceUnavailable", 0) > 0, PATIENCE)
            with pytest.raises(ServiceUnavailable):
                await client.ping()
            with pytest.raises(ServiceUnavailable):
                await client.actual_lrps()
            reply = await plain.post(f"{links.near.url}/v1/domains/list")
            assert reply.status_code == 503
            assert "more than 0.6 s; ConnectionFailed" in reply.text
            for mirror in links.mirrors[1:]:
                assert mirror.status.phase is Phase.STALE
            assert links.near.replica.readers.pending("instances") == []
            assert not links.far.replica.available
        await links.live()
        assert await client.ping()


@on_loopback
async def test_whoever_asks_is_told_in_each_reply_how_old_it_is() -> None:
    async with chain() as links, BBSClient(links.far.url) as client:
        for ask in (client.ping, client.domains, client.actual_lrps, client.scheduling_infos):
            await ask()
            assert client.source is not None
            assert client.source.trouble == ""
            assert 0 <= client.source.age < 5
        async with cut(links.bbs):
            await links.stale(*links.mirrors)
            await client.actual_lrps()
            assert isinstance(client.source, SourceStatus)
            assert client.source.trouble == "ConnectionFailed"


@on_loopback
async def test_domains_lapse_when_nobody_has_seen_for_too_long_that_they_are_fresh() -> None:
    async with chain() as links:
        replica = links.near.replica
        assert replica.domains() == ("cf-apps",)
        replica._max_age = 0.1
        links.bbs.app.hidden = frozenset({"/v1/domains/list"})
        with trio.fail_after(PATIENCE):
            while replica.domains():  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.02)
        assert links.near.mirror.status.live, "it is only the domains that are not known"
        links.bbs.app.hidden = frozenset()
        with trio.fail_after(PATIENCE):
            while not replica.domains():  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.02)


def test_an_age_that_is_none_is_refused() -> None:
    async def opened() -> None:
        async with serve_diego(diego()) as bbs, replicating(bbs.url, max_age=0):
            pass

    with pytest.raises(ConfigurationError, match="max_age=0"):
        trio.run(opened)
