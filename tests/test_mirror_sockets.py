"""A mirror on the simulated Diego over real sockets and trio's real clock: few, short, and without a fixed wait."""

import ssl
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from random import Random
from typing import Any, ParamSpec

import pytest
import trio
import trustme
from mirror_support import differences, lively
from msgspec import Struct
from msgspec.structs import replace
from patience import PATIENCE
from tls_support import issue

from lrpmirror import TLS, Mirror, Phase, Timeouts, Tuning, open_mirror
from lrpmirror.errors import ConnectionFailed, NotSynced, ServiceUnavailable, TimedOut
from lrpmirror.server import mutual_tls
from lrpmirror.sim import Autopilot, Diego, ServedDiego, serve_diego

P = ParamSpec("P")

SWIFT = Tuning(resync_interval=0.8, first_delay=0.02, most_delay=0.2, repair_delay=0.02)
PACE = 100.0

CUTS = 12


class Certificates(Struct, frozen=True):
    """What the two sides of a mutual TLS show and trust."""

    server: ssl.SSLContext
    client: TLS
    stranger: TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("mirror-tls")
    authority = trustme.CA()

    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(ca)

    def issue(name: str, by: trustme.CA) -> tuple[Path, Path]:
        leaf = by.issue_cert(name)
        cert, key = folder / f"{name}.pem", folder / f"{name}.key"
        leaf.private_key_pem.write_to_path(key)
        cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        return cert, key

    cert, key = issue("127.0.0.1", authority)
    server = mutual_tls(ca=ca, cert=cert, key=key)
    mine, other = issue("client", authority), issue("stranger", trustme.CA())
    return Certificates(server, TLS(ca, *mine), TLS(ca, *other))


def on_sockets(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an async test on the real clock, which must come to its end."""

    @wraps(test)
    def run_test(*args: P.args, **kwargs: P.kwargs) -> None:
        async def limited() -> None:
            with trio.fail_after(PATIENCE):
                await test(*args, **kwargs)

        trio.run(limited)

    return run_test


async def live(autopilot: Autopilot, steps: int) -> None:
    """Let the deployment live for so many virtual seconds, each a hundredth of a real one."""
    for _ in range(steps):
        autopilot.step()
        await trio.sleep(1 / PACE)


async def until(holds: Callable[[], bool]) -> None:
    """Poll until a condition holds that has no event."""
    while not holds():  # noqa: ASYNC110 - nobody sets an event for it
        await trio.sleep(0.002)


async def converged(mirror: Mirror, diego: Diego, timeout: float = PATIENCE) -> None:
    await mirror.wait_for(lambda m: m.status.live and not differences(m, diego), timeout, what="the server's state")


def mirror_of(served: ServedDiego, **options: Any) -> Any:
    options.setdefault("tuning", SWIFT)
    return open_mirror(served.url, rng=Random(0), **options)


@pytest.mark.parametrize("secure", [False, True])
@on_sockets
async def test_a_mirror_reaches_and_keeps_the_state_of_a_deployment_that_lives(
    secure: bool, certificates: Certificates
) -> None:
    diego, autopilot = lively(1, apps=20)
    async with (
        serve_diego(diego, tls=certificates.server if secure else None) as served,
        mirror_of(served, tls=certificates.client if secure else None) as mirror,
    ):
        await mirror.wait_synced(PATIENCE)
        assert not differences(mirror, diego)
        for _ in range(20):
            await live(autopilot, 3)
            await mirror.wait_for(lambda m: not differences(m, diego, notified=True), timeout=PATIENCE)
        await converged(mirror, diego)
        assert mirror.status.last_error is None
        assert served.host.streams == 1


@pytest.mark.parametrize(("seed", "secure"), [(0, False), (1, True), (2, False)])
@on_sockets
async def test_a_mirror_ends_in_the_servers_state_after_its_connections_were_cut_at_random_moments(
    seed: int, secure: bool, certificates: Certificates
) -> None:
    rng = Random(seed)
    diego, autopilot = lively(seed, apps=20)
    async with (
        serve_diego(diego, tls=certificates.server if secure else None) as served,
        mirror_of(served, tls=certificates.client if secure else None) as mirror,
    ):
        cuts = 0
        while cuts < CUTS:
            await live(autopilot, rng.randrange(1, 10))
            await trio.sleep(rng.uniform(0, 0.02))
            cuts += served.host.cut(streams_only=rng.random() < 0.5)
        await converged(mirror, diego)
        assert isinstance(mirror.status.last_error, ConnectionFailed)


@on_sockets
async def test_a_mirror_survives_a_fail_over() -> None:
    diego, autopilot = lively()
    async with serve_diego(diego) as served, mirror_of(served) as mirror:
        await mirror.wait_synced(PATIENCE)
        known = mirror.actual_lrps()
        await served.host.refuse()
        served.host.cut()
        await mirror.wait_for(lambda m: m.status.phase is Phase.STALE, timeout=PATIENCE)
        autopilot.run(30)
        assert isinstance(mirror.status.last_error, ConnectionFailed)
        assert mirror.actual_lrps() == known
        served.app.available = False
        await served.host.accept()
        await mirror.wait_for(lambda m: isinstance(m.status.last_error, ServiceUnavailable), timeout=PATIENCE)
        assert mirror.actual_lrps() == known
        served.app.available = True
        await converged(mirror, diego)


@on_sockets
async def test_a_server_that_is_not_in_service_yet_is_waited_for() -> None:
    diego, _ = lively()
    async with serve_diego(diego, available=False) as served, mirror_of(served) as mirror:
        await mirror.wait_for(lambda m: m.status.last_error is not None, PATIENCE)
        with pytest.raises(NotSynced, match="503"):
            await mirror.wait_synced(timeout=0)
        assert mirror.status.phase is Phase.CONNECTING
        served.app.available = True
        await converged(mirror, diego)


@on_sockets
async def test_a_server_that_falls_silent_costs_a_list_its_time_and_nothing_else() -> None:
    diego, autopilot = lively()
    timeouts = Timeouts(connect=0.3, write=0.3, read=0.3)
    async with serve_diego(diego) as served, mirror_of(served, timeout=timeouts) as mirror:
        await mirror.wait_synced(PATIENCE)
        served.host.pause()
        autopilot.run(10)
        mirror.resync()
        await until(lambda: isinstance(mirror.status.last_error, TimedOut))
        assert mirror.status.live
        assert differences(mirror, diego)
        served.host.resume()
        await converged(mirror, diego)


@on_sockets
async def test_a_stranger_is_kept_out(certificates: Certificates) -> None:
    diego, _ = lively()
    async with (
        serve_diego(diego, tls=certificates.server) as served,
        mirror_of(served, tls=certificates.stranger) as mirror,
    ):
        await mirror.wait_for(lambda m: m.status.last_error is not None, PATIENCE)
        with pytest.raises(NotSynced) as caught:
            await mirror.wait_synced(timeout=0)
        # With TLS 1.3 the server's refusal comes after the client's handshake, and its reason may be lost with the
        # connection.
        assert isinstance(caught.value.__cause__, ConnectionFailed)


@on_sockets
async def test_a_certificate_that_is_renewed_is_taken_up_by_another_stream_and_the_mirror_stays_live(
    tmp_path: Path,
) -> None:
    files = issue(tmp_path / "files")
    diego, autopilot = lively()
    server = files.server()
    files.authority.issue_cert("127.0.0.1").configure_cert(server)
    async with (
        serve_diego(diego, tls=server) as served,
        mirror_of(served, tls=files.tls, tuning=replace(SWIFT, renewal_interval=0.05)) as mirror,
    ):
        await mirror.wait_synced(PATIENCE)
        phases = {mirror.status.phase}

        def replaced(mirror: Mirror) -> bool:
            phases.add(mirror.status.phase)
            return mirror.counts.replacements == 1

        leaf = files.authority.issue_cert("client")
        files.key.write_bytes(leaf.private_key_pem.bytes())
        files.cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        await mirror.wait_for(replaced, timeout=PATIENCE)
        assert phases == {Phase.LIVE}
        await until(lambda: served.host.streams == 1)
        await live(autopilot, 5)
        await converged(mirror, diego)


@pytest.mark.parametrize("stream", ["instances", "groups"])
@on_sockets
async def test_a_mirror_of_an_old_server_does_with_what_there_is(stream: str) -> None:
    diego, autopilot = lively(3)
    hidden = (
        "/v1/events/lrp_instances.r1",
        "/v1/events.r1",
        "/v1/actual_lrps/list_by_process_guids",
        "/v1/desired_lrp_routing_infos/list",
    )
    async with serve_diego(diego, hidden=hidden) as served, mirror_of(served, stream=stream) as mirror:
        await mirror.wait_synced(PATIENCE)
        await live(autopilot, 40)
        await converged(mirror, diego)


@on_sockets
async def test_closing_a_mirror_in_the_middle_of_everything_closes_its_connections() -> None:
    diego, autopilot = lively()
    async with serve_diego(diego) as served:
        for wait in range(5):
            async with mirror_of(served):
                autopilot.step()
                await trio.sleep(wait / 500)
        await until(lambda: served.host.connections == 0)
    assert served.host.streams == 0
