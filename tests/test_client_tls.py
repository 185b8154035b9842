"""TLS with real handshakes on loopback: mutual, refused, hung up in the midst, ended in every way."""

import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from client_support import STREAM_HEAD, Received, by_path, chunk, reply, run, serving
from tls_support import Files

from lrpmirror.client import TLS, BBSClient, InsecureTLSWarning
from lrpmirror.errors import BBSError, ConnectionFailed, TLSFailed
from lrpmirror.events import ActualLRPInstanceCreated
from lrpmirror.model import ActualLRP
from lrpmirror.wire import encode
from lrpmirror.wire.sse import encode_frame

URL = "https://bbs.test:8889"
End = Callable[[trio.SSLStream[trio.SocketStream]], Awaitable[None]]

INSTANCES = "/v1/events/lrp_instances.r1"


@pytest.fixture(params=["list", "stream"])
def way(request: pytest.FixtureRequest) -> str:
    """Both ways over the network: httpx's own transport, and the one for streams."""
    return str(request.param)


ALIVE = by_path({"/v1/ping": reply(b"\x08\x01"), INSTANCES: STREAM_HEAD})


async def ask(client: BBSClient, way: str) -> None:
    if way == "list":
        assert await client.ping()
    else:
        async with client.events("instances"):
            pass


def refused(server: ssl.SSLContext, tls: TLS, way: str, *, host: str = "localhost") -> BBSError:
    """Return the error of a request to a server whose handshake fails."""
    errors: list[BBSError] = []

    async def main() -> None:
        async with serving(ALIVE, tls=server, host=host) as bbs, BBSClient(bbs.url, tls=tls) as client:
            with pytest.raises(BBSError) as failed:
                await ask(client, way)
            assert f" at {bbs.url}: " in str(failed.value)
            assert failed.value.__cause__ is not None
            assert bbs.received == []
            errors.append(failed.value)

    run(main)
    return errors[0]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_mutual_tls_carries_lists_and_streams(mine: Files, way: str, version: ssl.TLSVersion) -> None:
    server = mine.server()
    server.minimum_version = server.maximum_version = version

    async def main() -> None:
        async with (
            serving(ALIVE, tls=server, host="localhost") as bbs,
            BBSClient(bbs.url, tls=mine.tls) as client,
        ):
            await ask(client, way)
            assert len(bbs.received) == 1

    run(main)


def test_a_burst_of_events_that_are_tls_records_of_their_own_is_a_batch_for_each_read(mine: Files) -> None:
    events = [ActualLRPInstanceCreated(ActualLRP(process_guid=f"p{number}")) for number in range(200)]
    sent = trio.Event()

    async def script(_received: Received, stream: trio.abc.Stream) -> bool:
        await stream.send_all(STREAM_HEAD)
        for number, event in enumerate(events):
            await stream.send_all(chunk(encode_frame(number, event.type, encode.event(event))))
        sent.set()
        return await trio.sleep_forever()

    async def main() -> None:
        async with (
            serving(script, tls=mine.server(), host="localhost") as bbs,
            BBSClient(bbs.url, tls=mine.tls) as client,
            client.events("instances") as stream,
        ):
            await sent.wait()
            batches = [await anext(stream)]
            while sum(map(len, batches)) < len(events):
                batches.append(await anext(stream))
            assert [event for batch in batches for event in batch] == events
            # A read takes what the kernel has, which is all but what came between its first record and its last.
            assert len(batches) <= 5

    run(main)


def test_a_server_of_another_authority_is_not_trusted(mine: Files, other: Files, way: str) -> None:
    error = refused(other.server(client_ca=mine.ca), mine.tls, way)
    assert isinstance(error, TLSFailed)
    assert "the server's certificate is not accepted" in str(error)
    assert "check `ca`" in str(error)


def test_a_server_with_an_expired_certificate_is_not_trusted(mine: Files, way: str) -> None:
    error = refused(mine.server(expired=True), mine.tls, way)
    assert isinstance(error, TLSFailed)
    assert "expired" in str(error)


def test_a_server_of_another_name_is_not_trusted(mine: Files, way: str) -> None:
    error = refused(mine.server(), mine.tls, way, host="127.0.0.1")
    assert isinstance(error, TLSFailed)
    assert "mismatch" in str(error)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_of_another_authority_is_refused_by_the_server(
    mine: Files, other: Files, way: str, version: ssl.TLSVersion
) -> None:
    server = mine.server()
    server.minimum_version = server.maximum_version = version
    error = refused(server, TLS(ca=mine.ca, cert=other.cert, key=other.key), way)
    assert isinstance(error, TLSFailed)
    assert "the server refused the TLS handshake" in str(error)
    assert "check `cert` and `key`" in str(error)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_client_certificate_is_refused_by_the_server(mine: Files, way: str, version: ssl.TLSVersion) -> None:
    server = mine.server()
    server.minimum_version = server.maximum_version = version
    error = refused(server, TLS(ca=mine.ca), way)
    assert isinstance(error, TLSFailed)
    assert "the server refused the TLS handshake" in str(error)


def test_a_server_older_than_tls_1_2_is_refused(mine: Files) -> None:
    server = mine.server()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        server.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        server.maximum_version = ssl.TLSVersion.TLSv1_1
    server.set_ciphers("ALL:@SECLEVEL=0")
    assert isinstance(refused(server, mine.tls, "list"), TLSFailed)


def test_a_server_that_speaks_no_tls_is_called_that(mine: Files, way: str) -> None:
    async def main() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]

        async def plain(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.receive_some()
                await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with trio.open_nursery() as nursery, BBSClient(f"https://127.0.0.1:{port}", tls=mine.tls) as client:
            nursery.start_soon(trio.serve_listeners, plain, listeners)
            with pytest.raises(TLSFailed, match="the server does not speak TLS"):
                await ask(client, way)
            nursery.cancel_scope.cancel()

    run(main)


class Absolute(trio.abc.HostnameResolver):
    """A name service that knows one name, and only with its trailing dot."""

    async def getaddrinfo(self, host: bytes | None, port: object, *_args: object, **_options: object) -> Any:
        if host != b"localhost.":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

    async def getnameinfo(self, *_args: object, **_options: object) -> Any:
        raise AssertionError("nobody asks for that")


def test_a_trailing_dot_is_for_the_resolver_and_not_for_the_server(mine: Files, way: str) -> None:
    asked_for: list[str | None] = []

    async def main() -> None:
        trio.socket.set_custom_hostname_resolver(Absolute())
        server = mine.server()
        server.sni_callback = lambda _socket, name, _context: asked_for.append(name)
        async with serving(ALIVE, tls=server, host="localhost.") as bbs, BBSClient(bbs.url, tls=mine.tls) as client:
            await ask(client, way)
            assert bbs.url.startswith("https://localhost.:")

    run(main)
    assert asked_for == ["localhost"]


@pytest.mark.parametrize("reset", [False, True])
def test_a_server_that_hangs_up_in_the_handshake_is_called_that(mine: Files, way: str, *, reset: bool) -> None:
    async def main() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]

        async def rude(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.receive_some()
                if reset:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        async with trio.open_nursery() as nursery, BBSClient(f"https://127.0.0.1:{port}", tls=mine.tls) as client:
            nursery.start_soon(trio.serve_listeners, rude, listeners)
            with pytest.raises(ConnectionFailed) as failed:
                await ask(client, way)
            # Nothing is known of why, so nothing is said of certificates.
            assert not isinstance(failed.value, TLSFailed)
            assert str(failed.value).endswith(": the BBS closed the connection during the TLS handshake")
            nursery.cancel_scope.cancel()

    run(main)


def test_a_server_that_never_finishes_the_handshake_times_out(mine: Files, way: str) -> None:
    async def main() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]

        async def silent(stream: trio.SocketStream) -> None:
            async with stream:
                await trio.sleep_forever()

        url = f"https://127.0.0.1:{port}"
        async with trio.open_nursery() as nursery, BBSClient(url, tls=mine.tls, timeout=0.1) as client:
            nursery.start_soon(trio.serve_listeners, silent, listeners)
            with pytest.raises(BBSError, match="timed out while connecting"):
                await ask(client, way)
            nursery.cancel_scope.cancel()

    run(main)


def test_verification_is_switched_off_by_name_only_and_with_a_warning(mine: Files, other: Files, way: str) -> None:
    with pytest.warns(InsecureTLSWarning, match="verify=False") as warned:
        client = BBSClient(URL, tls=TLS(cert=mine.cert, key=mine.key, verify=False))
    assert warned[0].filename == __file__

    async def main() -> None:
        with pytest.warns(InsecureTLSWarning):
            async with (
                serving(ALIVE, tls=other.server(client_ca=mine.ca), host="127.0.0.1") as bbs,
                BBSClient(bbs.url, tls=TLS(cert=mine.cert, key=mine.key, verify=False)) as insecure,
            ):
                await ask(insecure, way)

    run(main)
    assert client.url == URL


def test_a_context_without_options_trusts_the_system_and_verifies(mine: Files) -> None:
    async def main() -> None:
        async with serving(ALIVE, tls=mine.server(), host="localhost") as bbs, BBSClient(bbs.url) as client:
            with pytest.raises(TLSFailed, match="not accepted"):
                await client.ping()

    run(main)


def test_a_server_that_is_not_trusted_is_told_why(mine: Files, other: Files) -> None:
    reasons: list[str | None] = []

    async def main() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        done = trio.Event()

        async def serve(stream: trio.SocketStream) -> None:
            pipe = trio.SSLStream(stream, other.server(client_ca=mine.ca), server_side=True)
            with pytest.raises(trio.BrokenResourceError) as broken:
                await pipe.receive_some()
            cause = broken.value.__cause__
            reasons.append(cause.reason if isinstance(cause, ssl.SSLError) else None)
            done.set()

        url = f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        async with trio.open_nursery() as nursery, BBSClient(url, tls=mine.tls) as client:
            nursery.start_soon(trio.serve_listeners, serve, listeners)
            with pytest.raises(TLSFailed):
                await ask(client, "stream")
            await done.wait()
            nursery.cancel_scope.cancel()

    run(main)
    assert reasons == ["TLSV1_ALERT_UNKNOWN_CA"]


EVENT = ActualLRPInstanceCreated(ActualLRP(process_guid="p1"))


async def hang_up(_pipe: trio.SSLStream[trio.SocketStream]) -> None:
    """Close the connection without a word, as a process that dies does."""


async def say_goodbye(pipe: trio.SSLStream[trio.SocketStream]) -> None:
    with suppress(ssl.SSLWantReadError):
        pipe._ssl_object.unwrap()
    await pipe.transport_stream.send_all(pipe._outgoing.read())


async def send_garbage(pipe: trio.SSLStream[trio.SocketStream]) -> None:
    await pipe.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + b"\x00" * 32)


@pytest.mark.parametrize(
    ("end", "error"), [(hang_up, ConnectionFailed), (say_goodbye, ConnectionFailed), (send_garbage, TLSFailed)]
)
def test_however_tls_ends_the_events_before_it_are_handed_over(mine: Files, end: End, error: type[BBSError]) -> None:
    async def script(_received: Received, stream: trio.abc.Stream) -> bool:
        assert isinstance(stream, trio.SSLStream)
        await stream.send_all(STREAM_HEAD)
        await entered.wait()
        await stream.send_all(chunk(encode_frame(0, EVENT.type, encode.event(EVENT))))
        await end(stream)
        sent.set()
        return False

    entered, sent = trio.Event(), trio.Event()

    async def main() -> None:
        async with (
            serving(script, tls=mine.server(), host="localhost") as bbs,
            BBSClient(bbs.url, tls=mine.tls) as client,
            client.events("instances") as stream,
        ):
            entered.set()
            await sent.wait()
            assert await anext(stream) == [EVENT]
            with pytest.raises(ConnectionFailed) as ended:
                await anext(stream)
            assert type(ended.value) is error

    run(main)
