"""A relay on more than one open server: Sentinels, replicas, a cluster, TLS, users, and readers that are slow."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from relay_scene import playing
from relay_support import (
    QUICK,
    Server,
    eventually,
    free_port,
    needs_redis,
    on_loopback,
    publishing,
    reading,
    redis_server,
    serve_diego,
    settled,
    small_diego,
)
from tls_support import Files, issue

from lrpmirror import TLS, open_mirror
from lrpmirror.errors import ChangesMissed, ConfigurationError, RelayRefused, RelayUnreachable, ServiceUnavailable
from lrpmirror.relay import RelayClient
from lrpmirror.relay._address import parse
from lrpmirror.relay._commands import Commands, connector
from lrpmirror.relay._format import Keys

pytestmark = needs_redis

README = (Path(__file__).parents[1] / "README.md").read_text()


def permissions(user: str) -> list[str]:
    """Return what README gives a user of the relay, without the password."""
    line = next(line for line in README.splitlines() if line.startswith(f"ACL SETUSER {user} "))
    return [word for word in line.split()[3:] if not word.startswith(">")]


@pytest.fixture
def redis() -> Iterator[Server]:
    with redis_server() as server:
        yield server


# Replicas and Sentinels


@on_loopback(60)
async def test_a_reader_at_a_replica_follows_and_survives_that_it_is_promoted(redis: Server) -> None:
    with redis_server("--replicaof", "127.0.0.1", str(redis.port)) as replica:
        async with playing(replica.url, to=redis.url) as scene:
            await trio.sleep(0.5)
            await scene.settle()
            replica.ask("REPLICAOF", "NO", "ONE")
            await scene.mirror.wait_for(lambda one: not one.status.live, 10)
            # What the primary did meanwhile comes in one piece.
            replica.ask("REPLICAOF", "127.0.0.1", str(redis.port))
            await scene.mirror.wait_for(lambda one: one.status.live, 20)
            await scene.settle()


@on_loopback(60)
async def test_a_replica_that_lags_is_not_live_and_catches_up(redis: Server) -> None:
    with redis_server("--replicaof", "127.0.0.1", str(redis.port)) as replica:
        async with playing(replica.url, to=redis.url) as scene:
            await trio.sleep(0.5)
            redis.ask("CLIENT", "KILL", "TYPE", "replica")
            replica.ask("CONFIG", "SET", "masterauth", "x")
            replica.ask("REPLICAOF", "127.0.0.1", "1")
            await scene.mirror.wait_for(lambda one: not one.status.live, 10)
            replica.ask("REPLICAOF", "127.0.0.1", str(redis.port))
            replica.ask("CONFIG", "SET", "masterauth", "")
            await scene.mirror.wait_for(lambda one: one.status.live, 20)
            await scene.settle()


@on_loopback(30)
async def test_a_publisher_at_a_replica_is_told_so(redis: Server) -> None:
    diego, _ = small_diego()
    with redis_server("--replicaof", "127.0.0.1", str(redis.port)) as replica:
        async with serve_diego(diego) as served, publishing(served, replica.url) as publisher:
            status = await publisher.wait_for(lambda status: status.trouble is not None)
            assert isinstance(status.trouble, ServiceUnavailable)
            assert "read replica" in str(status.trouble)


@on_loopback(90)
async def test_sentinels_fail_over_and_publisher_and_reader_follow() -> None:
    with ExitStack() as stack:
        first = stack.enter_context(redis_server())
        others = [
            stack.enter_context(
                redis_server("--replicaof", "127.0.0.1", str(first.port), "--repl-diskless-sync-delay", "0")
            )
            for _ in range(2)
        ]
        sentinels = [stack.enter_context(redis_server(sentinel=True)) for _ in range(3)]
        for sentinel in sentinels:
            sentinel.ask("SENTINEL", "MONITOR", "main", "127.0.0.1", str(first.port), "2")
            for option, value in (("down-after-milliseconds", "1000"), ("failover-timeout", "5000")):
                sentinel.ask("SENTINEL", "SET", "main", option, value)

        async def replicas() -> str:
            return sentinels[0].ask("SENTINEL", "REPLICAS", "main")

        def both_are_up(text: str) -> bool:
            return text.count("slave-repl-offset") == 2 and text.count("\nok\n") == 2

        assert await eventually(replicas, both_are_up, 30)
        url = "redis+sentinel://" + ",".join(f"127.0.0.1:{one.port}" for one in sentinels) + "/main"
        async with playing(url) as scene:
            await trio.sleep(1)
            first.kill()

            async def primary() -> str:
                return sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")

            assert await eventually(primary, lambda text: str(first.port) not in text.split(), 30)
            assert {str(one.port) for one in others} & set((await primary()).split())
            await scene.mirror.wait_for(lambda one: one.status.live, 30)
            await scene.settle(30)


@on_loopback(30)
async def test_sentinels_that_know_no_such_service_are_an_error_that_says_so() -> None:
    with redis_server(sentinel=True) as sentinel:
        async with reading(f"redis+sentinel://127.0.0.1:{sentinel.port}/none") as mirror:
            await mirror.wait_for(lambda one: one.status.trouble is not None, 10)
            assert isinstance(mirror.status.trouble, RelayUnreachable)
            assert "none" in str(mirror.status.trouble)


# A cluster


@on_loopback(60)
async def test_a_cluster_has_all_keys_in_one_slot() -> None:
    with redis_server("--cluster-enabled", "yes") as node:
        node.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")

        async def state() -> str:
            return node.ask("CLUSTER", "INFO")

        assert await eventually(state, lambda text: "cluster_state:ok" in text, 20)
        async with playing(f"redis+cluster://127.0.0.1:{node.port}") as scene:
            await trio.sleep(1)
            slots = {node.ask("CLUSTER", "KEYSLOT", key).strip() for key in Keys("lrpmirror").all}
            assert len(slots) == 1
            assert len(node.ask("KEYS", "*").split()) >= 8
            await scene.settle()


# Who may do what


@on_loopback(60)
async def test_users_with_the_permissions_that_readme_gives(redis: Server) -> None:
    redis.ask("ACL", "SETUSER", "publisher", ">wr:te", *permissions("publisher"))
    redis.ask("ACL", "SETUSER", "reader", ">r/ad", *permissions("reader"))
    redis.ask("ACL", "SETUSER", "default", "off")
    at = f"127.0.0.1:{redis.port}"
    async with playing(f"redis://reader:r%2Fad@{at}", to=f"redis://publisher:wr%3Ate@{at}") as scene:
        await trio.sleep(1)
        await scene.settle()


@on_loopback(30)
async def test_a_wrong_password_and_a_missing_one_are_said(redis: Server) -> None:
    redis.ask("CONFIG", "SET", "requirepass", "sesame")
    for account in ("", ":wrong@", "nobody:sesame@"):
        async with reading(f"redis://{account}127.0.0.1:{redis.port}") as mirror:
            await mirror.wait_for(lambda one: one.status.trouble is not None, 10)
            assert isinstance(mirror.status.trouble, RelayRefused)
            assert "password" in str(mirror.status.trouble)
            assert "sesame" not in str(mirror.status.trouble)


@on_loopback(30)
async def test_a_publisher_as_a_user_who_may_only_read_is_told_so(redis: Server) -> None:
    redis.ask("ACL", "SETUSER", "reader", ">read", *permissions("reader"))
    diego, _ = small_diego()
    async with (
        serve_diego(diego) as served,
        publishing(served, f"redis://reader:read@127.0.0.1:{redis.port}") as publisher,
    ):
        status = await publisher.wait_for(lambda status: status.trouble is not None)
    assert isinstance(status.trouble, RelayRefused)
    assert "permission" in str(status.trouble)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return issue(tmp_path / "tls")


@on_loopback(60)
async def test_tls_with_certificates_on_both_sides(files: Files, tmp_path: Path) -> None:
    server = files.authority.issue_cert("localhost", "127.0.0.1")
    cert, key = tmp_path / "server.pem", tmp_path / "server.key"
    cert.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    key.write_bytes(server.private_key_pem.bytes())
    with redis_server() as plain:
        for option, value in (("tls-cert-file", cert), ("tls-key-file", key), ("tls-ca-cert-file", files.ca)):
            plain.ask("CONFIG", "SET", option, str(value))
        port = free_port()
        plain.ask("CONFIG", "SET", "tls-port", str(port))
        url = f"rediss://localhost:{port}"
        diego, pilot = small_diego()
        async with (
            serve_diego(diego) as served,
            publishing(served, url, tls=files.tls),
            reading(url, tls=files.tls) as mirror,
        ):
            await mirror.wait_synced(10)
            pilot.run(5)
            await settled(mirror, diego)
        async with reading(url, tls=TLS(ca=files.ca)) as stranger:
            await stranger.wait_for(lambda one: one.status.trouble is not None, 10)
            assert isinstance(stranger.status.trouble, RelayUnreachable)
        other = issue(tmp_path / "other")
        async with reading(url, tls=TLS(ca=other.ca)) as wary:
            await wary.wait_for(lambda one: one.status.trouble is not None, 10)
            assert "certificate" in str(wary.status.trouble)


def test_tls_files_without_tls_are_refused(files: Files) -> None:
    with pytest.raises(ConfigurationError, match="rediss"):
        RelayClient("redis://localhost", tls=files.tls)


# Readers that are slow


class Slow:
    """The commands of a connection, of which reading the changes takes its time."""

    def __init__(self, commands: Commands, pause: float) -> None:
        self._commands = commands
        self._pause = pause

    def __getattr__(self, name: str) -> Any:
        return getattr(self._commands, name)

    async def entries_after(self, key: str, entry_id: str, count: int, wait: float) -> Sequence[Any]:
        await trio.sleep(self._pause)
        return await self._commands.entries_after(key, entry_id, min(count, 1), wait)


@on_loopback(60)
async def test_a_reader_that_the_cap_passes_by_notices_and_lists_again(redis: Server) -> None:
    diego, pilot = small_diego()
    connect, _ = connector(parse(redis.url))
    pause = [0.3]

    @asynccontextmanager
    async def slowly() -> AsyncIterator[Any]:
        async with connect() as commands:
            yield Slow(commands, pause[0])

    async with (
        serve_diego(diego) as served,
        publishing(served, redis.url, stream_bytes=3000),
        open_mirror(RelayClient(redis.url, connect=slowly), tuning=QUICK) as mirror,
    ):
        await mirror.wait_synced(10)
        for _ in range(100):
            pilot.step()
            await trio.sleep(0.02)
        await mirror.wait_for(lambda one: isinstance(one.status.last_error, ChangesMissed), 10)
        pause[0] = 0
        mirror.reconnect()
        await settled(mirror, diego)
        assert int(redis.ask("XLEN", "{lrpmirror}:changes")) < 50


@on_loopback(30)
async def test_ten_readers_end_in_the_same_state(redis: Server) -> None:
    diego, pilot = small_diego()
    async with serve_diego(diego) as served, publishing(served, redis.url), trio.open_nursery() as nursery:

        async def read() -> None:
            async with reading(redis.url) as mirror:
                await mirror.wait_synced(20)
                await trio.sleep(1)
                await settled(mirror, diego)

        for _ in range(10):
            nursery.start_soon(read)
        for _ in range(30):
            pilot.step()
            await trio.sleep(0.01)
