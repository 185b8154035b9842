"""HTTP as it comes from strangers: what is answered, and that nothing one connection does reaches another."""

import pytest
import trio
from http_support import GET, ask, connect, everything, hosting, parsed, still_serves

from lrpmirror.server import BBSApp, serve_app
from lrpmirror.server.head import HeadCheck, Refusal
from lrpmirror.sim import Diego


def request(method: str = "GET", target: str = "/", *headers: str, body: bytes = b"", version: str = "1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: x", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_head_is_answered_as_get_without_the_body() -> None:
    async def main() -> None:
        async with hosting() as host:
            [head] = await ask(host, request("HEAD"), "HEAD")
            [get] = await ask(host, request("GET"))
            assert (head.status, head.body, head.whole) == (200, b"", True)
            assert {**head.headers, b"date": b""} == {**get.headers, b"date": b""}

    trio.run(main)


def test_the_connection_goes_on_after_head() -> None:
    async def main() -> None:
        async with hosting() as host, await connect(host) as stream:
            await stream.send_all(request("HEAD") + request())
            await stream.send_eof()
            raw = await everything(stream)
            assert raw.count(b"HTTP/1.1 200 OK") == 2
            assert raw.endswith(b"\r\n\r\nhello")

    trio.run(main)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/lrp_instances.r1"])
def test_head_of_an_event_stream_ends(path: str) -> None:
    async def main() -> None:
        bbs = Diego()
        async with serve_app(BBSApp(bbs)) as host:
            [reply] = await ask(host, request("HEAD", path), "HEAD")
            assert (reply.status, reply.headers[b"content-type"]) == (200, b"text/event-stream; charset=utf-8")
            assert all(each.closed for each in bbs._subscriptions["instances"] + bbs._subscriptions["groups"])

    trio.run(main)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request("CONNECT"), 501),
        (request("CONNECT", "x:1"), 501),
        (request("BREW"), 501),
        (request("get"), 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (request(version="3.0"), 505),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (request("GET", "healthz"), 400),
        (request("GET", "ftp://x/"), 400),
        (request("GET", "/", "Folded: a\r\n b"), 400),
        (request("GET", "/", "Folded: a\r\n\tb"), 400),
        (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\n", 400),
        (b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (request("POST", "/", "Content-Length: 3", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
        (request("POST", "/", "Transfer-Encoding: chunked", "Content-Length: 3", body=b"0\r\n\r\n"), 400),
        (request("POST", "/", "Transfer-Encoding: chunked", body=b"0\r\n\r\n", version="1.0"), 400),
        (request("POST", "/", "Content-Length: 3", "Content-Length: 4", body=b"abc"), 400),
        (request("POST", "/", "Content-Length: -1"), 400),
        (request("POST", "/", "Content-Length: " + "9" * 4301), 400),
        (request("POST", "/", "Transfer-Encoding: gzip"), 501),
        (request("POST", "/", "Content-Length: 1048577"), 413),
        (request("POST", "/", "Transfer-Encoding: chunked", body=b"180000\r\n" + bytes(0x180000)), 413),
        (request("GET", "/" + "a" * 8192), 431),
        (request("GET", "/", "A: " + "a" * 8192), 431),
        (request("GET", "/", *["A: a"] * 100), 431),
        (b"a" * 8193, 431),
    ],
)
def test_what_cannot_be_answered_is_refused_and_the_connection_closed(raw: bytes, status: int) -> None:
    async def main() -> None:
        async with hosting() as host:
            async with await connect(host) as stream:
                await stream.send_all(raw)
                [reply] = parsed(await everything(stream))
                assert (reply.status, reply.body, reply.headers[b"connection"]) == (status, b"", b"close")
            await still_serves(host)
            assert host.traffic.replies[status] == 1
            assert not host.traffic.failures

    trio.run(main)


@pytest.mark.parametrize(
    "raw",
    [
        request("GET", "http://x/"),
        request("GET", "HTTPS://x:8889?a=b"),
        request("OPTIONS", "*"),
        request("POST", "/", "Content-Length: 5", body=b"hello"),
        request("POST", "/", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
        request("POST", "/", "Upgrade: websocket", "Connection: upgrade"),
        request("GET", "/", *["A: a"] * 90),
        request(version="1.0"),
    ],
)
def test_what_can_be_answered_is(raw: bytes) -> None:
    async def main() -> None:
        async with hosting() as host:
            [whole] = await ask(host, raw)
            assert (whole.status, whole.body) == (200, b"hello")
            async with await connect(host) as stream:
                for at in range(len(raw)):
                    await stream.send_all(raw[at : at + 1])
                await stream.send_eof()
                [by_byte] = parsed(await everything(stream))
                assert by_byte.body == b"hello"

    trio.run(main)


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/v1/actual_lrps/list", 405, b"POST"),
        ("HEAD", "/v1/ping", 405, b"POST"),
        ("DELETE", "/v1/events", 405, b"GET, HEAD, POST"),
        ("DELETE", "/v1/nothing", 404, None),
    ],
)
def test_a_method_that_a_path_does_not_have_is_told_which_it_has(
    method: str, path: str, status: int, allowed: bytes | None
) -> None:
    async def main() -> None:
        async with serve_app(BBSApp(Diego())) as host:
            [reply] = await ask(host, request(method, path), method)
            assert (reply.status, reply.headers.get(b"allow")) == (status, allowed)

    trio.run(main)


def test_what_follows_a_body_is_the_next_request() -> None:
    async def main() -> None:
        async with hosting() as host:
            body = b"x\n y\n\n"
            raw = request("POST", "/", f"Content-Length: {len(body)}", body=body)
            replies = await ask(host, raw + GET + raw)
            assert [reply.body for reply in replies] == [body, b"hello", body]

    trio.run(main)


def test_what_is_folded_after_a_good_request_is_refused_alone() -> None:
    async def main() -> None:
        async with hosting() as host:
            replies = await ask(host, GET + request("GET", "/", "A: a\r\n b"))
            assert [reply.status for reply in replies] == [200, 400]

    trio.run(main)


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_head_is_judged_alike_however_it_comes(cut: int) -> None:
    def judge(raw: bytes) -> int:
        check = HeadCheck()
        try:
            for at in range(0, len(raw), cut):
                check.feed(raw[at : at + cut])
        except Refusal as refusal:
            return refusal.error_status_hint
        return 200

    good = b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n"
    assert judge(good) == 200
    assert judge(good + b"\n body\n\n") == 200
    for at in range(1, len(good)):
        if good[at : at + 1] == b"\n":
            assert judge(good[: at - 1] + good[at:]) == 400, at
            if at < len(good) - 3:
                assert judge(good[: at + 1] + b" " + good[at + 1 :]) == 400, at


# Mistakes of our own


def test_a_mistake_of_the_application_costs_a_500_and_that_connection(server_failures: list[str]) -> None:
    async def main() -> None:
        async with hosting() as host, await connect(host) as other:
            await other.send_all(request("POST", "/", "Content-Length: 5", body=b"he"))
            for _ in range(3):
                [reply] = await ask(host, request("GET", "/broken") + GET)
                assert (reply.status, reply.headers[b"connection"]) == (500, b"close")
            [reply] = await ask(host, request("GET", "/half"))
            assert (reply.body, reply.whole) == (b"h", False)
            await other.send_all(b"llo")
            await other.send_eof()
            [reply] = parsed(await everything(other))
            assert reply.body == b"hello"
            assert host.traffic.failures == {"ZeroDivisionError": 4}
            with pytest.RaisesGroup(ZeroDivisionError, ZeroDivisionError):
                host.traffic.raise_failures("it")

    trio.run(main)
    assert [line.partition(" failed")[0] for line in server_failures] == ["GET '/broken'", "GET '/half'"]
    server_failures.clear()


def test_a_mistake_in_the_server_itself_costs_that_connection(
    server_failures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def feed(_self: HeadCheck, data: bytes) -> None:
        if b"strange" in data:
            raise KeyError(data)

    async def main() -> None:
        async with hosting() as host:
            monkeypatch.setattr(HeadCheck, "feed", feed)
            assert await ask(host, b"strange") == []
            await still_serves(host)
            assert host.traffic.failures == {"KeyError": 1}

    trio.run(main)
    assert len(server_failures) == 1
    server_failures.clear()


@pytest.mark.parametrize("leave", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_process_is_no_mistake(leave: type[BaseException]) -> None:
    async def app(*_asked: object) -> None:
        raise leave

    async def main() -> None:
        async with serve_app(app) as host:
            await ask(host, GET)
            await trio.sleep_forever()

    with pytest.RaisesGroup(leave, flatten_subgroups=True):
        trio.run(main)
