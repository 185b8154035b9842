"""Everything that can go wrong with a request, each as one error of the tree that says what was asked of whom."""

import errno
import socket
import ssl
from typing import Any

import httpx
import pytest
import trio
from client_support import (
    PROTOBUF,
    STREAM_HEAD,
    Answering,
    Ask,
    a_list,
    a_stream,
    body,
    by_path,
    chunk,
    reply,
    run,
    says,
    serving,
)

from lrpmirror.client import BBSClient, Limits, Timeouts
from lrpmirror.errors import (
    BBSError,
    ConnectionFailed,
    LimitExceeded,
    MalformedRecord,
    RequestRefused,
    ServiceUnavailable,
    TimedOut,
    TLSFailed,
    TruncatedReply,
    UnexpectedReply,
    UnknownPath,
)
from lrpmirror.wire import encode

URL = "http://bbs.test:8889"
ROWS = "POST /v1/actual_lrps/list at "


class Raising(httpx.AsyncBaseTransport):
    """A network that fails with one error of httpx, as its transports raise them."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "POST"
        raise self._error


class Fixed(httpx.AsyncBaseTransport):
    """A network in which every request gets this status, these headers and this body."""

    def __init__(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self._status, self._headers, self._content = status, headers, content

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "POST"
        return httpx.Response(self._status, headers=self._headers, stream=httpx.ByteStream(self._content))


async def failing(network: httpx.AsyncBaseTransport) -> BBSError:
    """Ask for the rows over a network on which that fails; return the error, which says what was asked of whom."""
    async with BBSClient(URL, transport=network) as client:
        with pytest.raises(BBSError) as failed:
            await client.actual_lrps()
    assert str(failed.value).startswith(f"{ROWS}{URL}: ")
    return failed.value


@pytest.mark.parametrize(
    ("status", "headers", "error", "says_"),
    [
        (503, {}, ServiceUnavailable, "retry later"),
        (404, {"Content-Type": "text/plain"}, UnknownPath, "404"),
        (500, {}, UnexpectedReply, "status 500 instead of 200"),
        (302, {"Location": "https://elsewhere.test/"}, UnexpectedReply, "status 302 instead of 200"),
        (204, {}, UnexpectedReply, "status 204 instead of 200"),
        (200, {"Content-Type": "text/html; charset=utf-8"}, UnexpectedReply, "'text/html; charset=utf-8' instead of"),
        (200, {}, UnexpectedReply, "content type ''"),
        (200, {"Content-Type": "text/event-stream"}, UnexpectedReply, "is this the URL of a BBS"),
        (200, {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}, UnexpectedReply, "encoded body"),
    ],
)
def test_a_head_that_the_protocol_does_not_promise_is_an_error(
    status: int, headers: dict[str, str], error: type[BBSError], says_: str
) -> None:
    async def main() -> None:
        failed = await failing(Fixed(status, headers))
        assert type(failed) is error
        assert says_ in str(failed)

    run(main)


@pytest.mark.parametrize("content_type", ["application/x-protobuf", "Application/X-Protobuf; charset=binary"])
def test_the_content_type_is_compared_without_case_and_parameters(content_type: str) -> None:
    async def main() -> None:
        async with BBSClient(URL, transport=Fixed(200, {"Content-Type": content_type}, body(3))) as client:
            assert len(await client.actual_lrps()) == 3

    run(main)


@pytest.mark.parametrize("status", [404, 502, 503])
def test_what_a_router_in_between_says_is_told_from_what_the_bbs_says(status: int) -> None:
    async def main() -> None:
        failed = await failing(Fixed(status, {"X-Cf-Routererror": "unknown_route"}))
        assert "sent by a router in between, not by the BBS (X-Cf-Routererror: 'unknown_route')" in str(failed)
        # A router's 404 must not make the client fall back to older paths for good.
        assert not isinstance(failed, UnknownPath)

    run(main)


def test_a_server_s_text_in_a_message_is_of_limited_length_and_printable() -> None:
    async def main() -> None:
        failed = await failing(Fixed(502, {"X-Cf-Routererror": "\x1b[31m" + "x" * 5000}))
        assert len(str(failed)) < 400
        assert "\x1b" not in str(failed)

    run(main)


@pytest.mark.parametrize(
    ("foreign", "error", "says_"),
    [
        (httpx.ConnectTimeout(""), TimedOut, "while connecting"),
        (httpx.WriteTimeout(""), TimedOut, "while sending the request"),
        (httpx.ReadTimeout(""), TimedOut, "while waiting for the reply"),
        (httpx.PoolTimeout(""), TimedOut, "while waiting for a free connection"),
        (httpx.ReadError(""), ConnectionFailed, "the connection broke while waiting for the reply: ReadError"),
        (httpx.RemoteProtocolError("illegal status line"), ConnectionFailed, "illegal status line"),
        (httpx.ConnectError("refused"), ConnectionFailed, "no connection: refused"),
        (OSError(errno.EMFILE, "Too many open files"), ConnectionFailed, "Too many open files"),
    ],
)
def test_an_error_of_the_network_is_the_cause_of_one_of_ours(
    foreign: Exception, error: type[BBSError], says_: str
) -> None:
    async def main() -> None:
        failed = await failing(Raising(foreign))
        assert type(failed) is error
        assert failed.__cause__ is foreign
        assert says_ in str(failed)

    run(main)


@pytest.mark.parametrize("ask", [a_list, a_stream])
def test_a_refused_connection_is_called_that(ask: Ask) -> None:
    async def main() -> None:
        with trio.socket.socket() as unused:
            await unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            async with BBSClient(url) as client:
                with pytest.raises(ConnectionFailed, match=r"no connection: .*[Rr]efused") as failed:
                    await ask(client)
            assert url in str(failed.value)
            assert isinstance(failed.value.__cause__, httpx.ConnectError)

    run(main)


class NoNames(trio.abc.HostnameResolver):
    """A name service that knows no name."""

    async def getaddrinfo(self, *_args: object, **_options: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_args: object, **_options: object) -> Any:
        raise AssertionError("nobody asks for that")


@pytest.mark.parametrize("ask", [a_list, a_stream])
def test_a_host_name_that_does_not_resolve_is_a_failed_connection_that_says_so(ask: Ask) -> None:
    async def main() -> None:
        trio.socket.set_custom_hostname_resolver(NoNames())
        async with BBSClient("http://bbs.test:8889") as client:
            with pytest.raises(ConnectionFailed, match="the host name cannot be resolved: Name or service not known"):
                await ask(client)

    run(main)


@pytest.mark.parametrize("ask", [a_list, a_stream])
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200", b"SSH-2.0-OpenSSH_9.6\r\n\r\n"])
def test_a_server_that_answers_with_nothing_or_something_else_is_a_failed_connection(sent: bytes, ask: Ask) -> None:
    async def main() -> None:
        async with serving(says(sent)) as bbs, BBSClient(bbs.url) as client:
            with pytest.raises(ConnectionFailed, match=r"the connection broke while waiting for the reply: .+"):
                await ask(client)

    run(main)


def test_a_body_shorter_than_its_content_length_is_a_failed_connection() -> None:
    whole = body(100)

    async def main() -> None:
        async with serving(says(reply(whole, length=len(whole) + 1))) as bbs, BBSClient(bbs.url) as client:
            with pytest.raises(ConnectionFailed, match="the connection broke while reading the reply") as failed:
                await client.actual_lrps()
            assert isinstance(failed.value.__cause__, httpx.RemoteProtocolError)

    run(main)


def test_a_chunked_body_cut_between_two_records_is_a_failed_connection() -> None:
    head = STREAM_HEAD.replace(b"text/event-stream; charset=utf-8", PROTOBUF.encode())

    async def main() -> None:
        async with serving(says(head, chunk(body(10)))) as bbs, BBSClient(bbs.url) as client:
            with pytest.raises(ConnectionFailed, match="the connection broke while reading the reply"):
                await client.actual_lrps()

    run(main)


def test_a_whole_body_that_ends_within_a_record_is_a_truncated_reply() -> None:
    async def main() -> None:
        async with BBSClient(URL, transport=Answering(body(3)[:-1])) as client:
            with pytest.raises(TruncatedReply, match=ROWS + URL):
                await client.actual_lrps()

    run(main)


def test_a_ping_s_reply_that_is_no_message_is_malformed() -> None:
    async def main() -> None:
        async with BBSClient(URL, transport=Answering(b"\xff")) as client:
            with pytest.raises(MalformedRecord, match="POST /v1/ping at "):
                await client.ping()

    run(main)


def test_a_ping_s_reply_beyond_the_limit_is_refused() -> None:
    async def main() -> None:
        async with BBSClient(URL, limits=Limits(max_record=10), transport=Answering(b"\x08\x01" * 6)) as client:
            with pytest.raises(LimitExceeded, match="POST /v1/ping at "):
                await client.ping()

    run(main)


def test_a_record_beyond_the_limit_is_refused() -> None:
    async def main() -> None:
        async with BBSClient(
            URL, limits=Limits(max_record=10), transport=Answering(body(1) + b"\x12\x80\x01")
        ) as client:
            with pytest.raises(LimitExceeded, match=ROWS + URL):
                await client.actual_lrps()

    run(main)


def test_the_error_field_of_a_200_is_the_refusal_of_the_bbs() -> None:
    async def main() -> None:
        network = Answering(encode.error_reply("Deadlock", "try again"))
        async with BBSClient(URL, transport=network) as client:
            with pytest.raises(RequestRefused, match=f"{ROWS}{URL}: Deadlock: try again") as refused:
                await client.actual_lrps()
        assert (refused.value.type, refused.value.message) == ("Deadlock", "try again")

    run(main)


def test_a_list_that_stalls_times_out_however_much_has_arrived() -> None:
    whole = body(1000)

    async def main() -> None:
        async with (
            serving(says(reply(whole[:-1], length=len(whole)), hang=True)) as bbs,
            BBSClient(bbs.url, timeout=Timeouts(read=0.3)) as client,
        ):
            with pytest.raises(TimedOut, match="timed out while reading the reply"):
                await client.actual_lrps()

    run(main)


def test_a_list_that_drips_arrives_as_long_as_no_pause_is_too_long() -> None:
    head_and_body = reply(body(2))

    async def main() -> None:
        drops = [head_and_body[at : at + 1] for at in range(len(head_and_body))]
        async with serving(says(*drops)) as bbs, BBSClient(bbs.url) as client:
            assert len(await client.actual_lrps()) == 2

    run(main)


@pytest.mark.parametrize("way", ["list", "stream"])
def test_connections_have_tcp_keep_alive(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[tuple[int, int, int]] = []
    real = trio.SocketStream.setsockopt

    def spy(stream: trio.SocketStream, level: int, option: int, value: int) -> None:
        options.append((level, option, value))
        real(stream, level, option, value)

    async def main() -> None:
        answers = {"/v1/actual_lrps/list": reply(), "/v1/events/lrp_instances.r1": STREAM_HEAD}
        async with serving(by_path(answers)) as bbs, BBSClient(bbs.url) as client:
            monkeypatch.setattr(trio.SocketStream, "setsockopt", spy)
            await (a_list if way == "list" else a_stream)(client)

    run(main)
    assert (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1) in options


def test_a_request_that_the_server_does_not_take_times_out() -> None:
    async def main() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        async with listeners[0], BBSClient(url, timeout=Timeouts(write=0.1)) as client:
            with pytest.raises(TimedOut, match="while sending the request"):
                await client.events("instances", cell_id="c" * 20_000_000).__aenter__()
            with pytest.raises(TimedOut, match="while sending the request"):
                await client.actual_lrps(cell_id="c" * 20_000_000)

    run(main)


def test_a_request_that_the_server_resets_is_a_failed_connection() -> None:
    async def main() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"

        async def hang_up(stream: trio.SocketStream) -> None:
            await stream.receive_some(1)
            await stream.aclose()

        async with trio.open_nursery() as nursery, BBSClient(url) as client:
            nursery.start_soon(trio.serve_listeners, hang_up, listeners)
            with pytest.raises(ConnectionFailed, match="the connection broke while waiting for the reply"):
                await client.events("instances", cell_id="c" * 20_000_000).__aenter__()
            nursery.cancel_scope.cancel()

    run(main)


def test_any_other_trouble_with_tls_is_named_by_openssl_s_reason() -> None:
    trouble = ssl.SSLError(1, "[SSL: BAD_SIGNATURE] bad signature")
    trouble.reason = "BAD_SIGNATURE"
    foreign = httpx.ReadError("")
    foreign.__cause__ = trouble

    async def main() -> None:
        failed = await failing(Raising(foreign))
        assert type(failed) is TLSFailed
        assert "TLS failed (BAD_SIGNATURE)" in str(failed)

    run(main)
