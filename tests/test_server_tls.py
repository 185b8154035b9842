"""The TLS of the served BBS: who is let in, and what is said to whoever is not; and the addresses it is served at."""

import socket
import ssl
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing
import trustme
from http_support import connect, everything, hello
from sim_support import diego

from lrpmirror import BBSClient
from lrpmirror.errors import ConfigurationError
from lrpmirror.server import mutual_tls, serve_app
from lrpmirror.server.hosting import authority
from lrpmirror.server.limits import Limits
from lrpmirror.server.sockets import shake_hands
from lrpmirror.sim import serve_diego


def hello_of_a_client() -> bytes:
    """Return what a client begins a handshake with."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="here").do_handshake()
    return outgoing.read()


HELLO = hello_of_a_client()


@pytest.fixture
def pems(tmp_path: Path) -> dict[str, Path]:
    """Write a CA and the certificates of a server and a client that it has signed; return the files."""
    ca = trustme.CA()
    paths = {"ca": tmp_path / "ca.pem"}
    ca.cert_pem.write_to_path(paths["ca"])
    for name, identity in (("server", "127.0.0.1"), ("client", "client.example")):
        made = ca.issue_cert(identity)
        paths[f"{name}_cert"], paths[f"{name}_key"] = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        made.cert_chain_pems[0].write_to_path(paths[f"{name}_cert"])
        made.private_key_pem.write_to_path(paths[f"{name}_key"])
    return paths


def test_with_mutual_tls_only_a_client_with_a_certificate_is_served(pems: dict[str, Path]) -> None:
    async def main() -> None:
        tls = mutual_tls(ca=pems["ca"], cert=pems["server_cert"], key=pems["server_key"])
        async with serve_diego(diego(), tls=tls) as server:
            assert server.url.startswith("https://")
            known = ssl.create_default_context(cafile=pems["ca"])
            known.load_cert_chain(pems["client_cert"], pems["client_key"])
            async with httpx.AsyncClient(base_url=server.url, verify=known) as client:
                assert (await client.post("/v1/ping")).content
            stranger = ssl.create_default_context(cafile=pems["ca"])
            async with httpx.AsyncClient(base_url=server.url, verify=stranger) as client:
                with pytest.raises(httpx.TransportError):
                    await client.post("/v1/ping")

    trio.run(main)


def test_files_that_cannot_be_used_for_tls_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.pem"):
        mutual_tls(ca=tmp_path / "nothing.pem", cert=tmp_path / "c", key=tmp_path / "k")


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_whose_certificate_is_refused_is_told_why_by_an_alert(
    pems: dict[str, Path], version: ssl.TLSVersion
) -> None:
    # With TLS 1.3 it has sent its request by then, which the server never takes.
    request = b"POST /v1/ping HTTP/1.1\r\nHost: here\r\nContent-Length: 60000\r\n\r\n" + bytes(60000)

    async def ask(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await stream.send_all(request)
        await stream.receive_some()

    async def main() -> None:
        tls = mutual_tls(ca=pems["ca"], cert=pems["server_cert"], key=pems["server_key"])
        tls.minimum_version = tls.maximum_version = version
        stranger = ssl.create_default_context(cafile=pems["ca"])
        async with serve_diego(diego(), tls=tls) as server:
            port = int(server.url.rpartition(":")[2])
            stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=stranger)
            with pytest.raises(trio.BrokenResourceError) as refused:
                await ask(stream)
            assert "ALERT" in str(refused.value.__cause__)
            await trio.aclose_forcefully(stream)

    trio.run(main)


def test_a_client_that_is_refused_and_does_not_leave_is_left_after_a_second(pems: dict[str, Path]) -> None:
    async def main() -> None:
        tls = mutual_tls(ca=pems["ca"], cert=pems["server_cert"], key=pems["server_key"])
        ours, theirs = trio.testing.memory_stream_pair()
        # A greeting that is none.
        await theirs.send_all(bytes.fromhex("16 0301 0005 01 000001 00"))
        with pytest.raises(trio.BrokenResourceError):
            await shake_hands(trio.SSLStream(ours, tls, server_side=True))
        assert trio.current_time() == pytest.approx(1)
        assert (await theirs.receive_some())[:1] == b"\x15"  # an alert

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("sent", [b"", bytes.fromhex("16 0301 0200 01"), HELLO], ids=["nothing", "a part", "a hello"])
def test_a_client_that_never_ends_the_handshake_is_cut_off(pems: dict[str, Path], sent: bytes) -> None:
    async def main() -> None:
        tls = mutual_tls(ca=pems["ca"], cert=pems["server_cert"], key=pems["server_key"])
        limits = Limits(handshake_timeout=10, head_timeout=200, idle_timeout=200)
        async with serve_app(hello, tls=tls, limits=limits) as host, await connect(host) as stream:
            await stream.send_all(sent)
            with trio.fail_after(100):
                await everything(stream)
            assert 9 <= trio.current_time() <= 13
            assert host.traffic.timeouts == {"handshake": 1}
            await trio.testing.wait_all_tasks_blocked()
            assert host.connections == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.02))


@pytest.mark.parametrize(("host", "port", "text"), [("::1", 8889, "[::1]:8889"), ("127.0.0.1", 1, "127.0.0.1:1")])
def test_an_ipv6_address_has_brackets_in_a_url(host: str, port: int, text: str) -> None:
    assert authority(host, port) == text


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_the_url_of_a_server_on_an_ipv6_address_can_be_used() -> None:
    async def main() -> None:
        async with serve_diego(diego(), address="::1") as server, BBSClient(server.url) as client:
            assert await client.ping()

    trio.run(main)
