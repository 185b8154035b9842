"""What a client has learnt that its server is too old for, it forgets where another server may answer from now on."""

from collections.abc import Awaitable, Callable
from typing import Literal

import httpx
import pytest
from client_support import PROTOBUF, STREAM_HEAD, by_path, reply, run, serving

from lrpmirror.client import BBSClient
from lrpmirror.errors import BBSError, ConnectionFailed, ServiceUnavailable, UnexpectedReply, UnknownPath

URL = "http://bbs.test:8889"
NEWEST = "/v1/actual_lrps/list_by_process_guids"
PING = "/v1/ping"
INSTANCES = "/v1/events/lrp_instances.r1"

StreamName = Literal["instances", "groups"]


class Old(httpx.MockTransport):
    """A server without the newest path, whose pings fail as they are told to."""

    def __init__(self, failing: Callable[[httpx.Request], httpx.Response]) -> None:
        super().__init__(self._answer)
        self._failing = failing
        self.asked: list[str] = []

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if request.url.path == PING:
            return self._failing(request)
        if request.url.path == NEWEST:
            return httpx.Response(404, headers={"Content-Type": "text/plain"}, stream=httpx.ByteStream(b"404"))
        return whole(b"")


def whole(body: bytes) -> httpx.Response:
    return httpx.Response(200, headers={"Content-Type": PROTOBUF}, stream=httpx.ByteStream(body))


def raising(error: type[httpx.TransportError]) -> Callable[[httpx.Request], httpx.Response]:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error("no", request=request)

    return fail


def ask(client: BBSClient) -> Awaitable[object]:
    return client.actual_lrps_by_process_guids(["p"])


@pytest.mark.parametrize(
    "failing",
    [
        raising(httpx.ConnectError),
        raising(httpx.ConnectTimeout),
        raising(httpx.ReadError),
        raising(httpx.ReadTimeout),
        raising(httpx.WriteTimeout),
        raising(httpx.RemoteProtocolError),
        lambda _: httpx.Response(503, stream=httpx.ByteStream(b"")),
    ],
    ids=["refused", "no connection", "broken", "no answer", "stuck", "no HTTP", "503"],
)
def test_after_what_another_server_may_follow_the_newest_way_is_tried_again(
    failing: Callable[[httpx.Request], httpx.Response],
) -> None:
    async def main() -> None:
        network = Old(failing)
        async with BBSClient(URL, transport=network) as client:
            for _ in range(2):
                await ask(client)
            assert network.asked.count(NEWEST) == 1
            with pytest.raises(BBSError):
                await client.ping()
            await ask(client)
            assert network.asked.count(NEWEST) == 2

    run(main)


@pytest.mark.parametrize(
    "failing",
    [
        lambda _: httpx.Response(404, headers={"Content-Type": "text/plain"}, stream=httpx.ByteStream(b"404")),
        lambda _: httpx.Response(500, stream=httpx.ByteStream(b"")),
    ],
    ids=["404", "500"],
)
def test_what_the_same_server_answers_is_no_reason_to_try_again(
    failing: Callable[[httpx.Request], httpx.Response],
) -> None:
    async def main() -> None:
        network = Old(failing)
        async with BBSClient(URL, transport=network) as client:
            await ask(client)
            with pytest.raises((UnknownPath, UnexpectedReply)):
                await client.ping()
            await ask(client)
            assert network.asked.count(NEWEST) == 1

    run(main)


# Streams


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("instances", [f"POST {INSTANCES}", "POST /v1/events/lrp_instances"]),
        ("groups", ["GET /v1/events.r1", "GET /v1/events"]),
    ],
)
def test_an_older_server_is_asked_the_older_way_and_then_only_that_way(name: StreamName, paths: list[str]) -> None:
    old = by_path({paths[1].split(" ")[1]: STREAM_HEAD})

    async def main() -> None:
        async with serving(old) as bbs, BBSClient(bbs.url) as client:
            for _ in range(2):
                async with client.events(name):
                    pass
            assert [received.line for received in bbs.received] == [*paths, paths[1]]

    run(main)


def test_after_a_lost_stream_the_newest_way_is_tried_again() -> None:
    answers = {"/v1/events/lrp_instances": STREAM_HEAD + b"0\r\n\r\n"}

    async def main() -> None:
        async with serving(by_path(answers)) as bbs, BBSClient(bbs.url) as client:
            async with client.events("instances") as stream:
                with pytest.raises(ConnectionFailed):
                    await anext(stream)
            answers[INSTANCES] = STREAM_HEAD
            async with client.events("instances"):
                pass
            assert bbs.received[-1].path == INSTANCES

    run(main)


def test_after_a_503_the_newest_way_is_tried_again() -> None:
    answers = {"/v1/events/lrp_instances": STREAM_HEAD, "/v1/ping": reply(status="503 Service Unavailable")}

    async def main() -> None:
        async with serving(by_path(answers)) as bbs, BBSClient(bbs.url) as client:
            async with client.events("instances"):
                pass
            with pytest.raises(ServiceUnavailable):
                await client.ping()
            answers[INSTANCES] = STREAM_HEAD
            async with client.events("instances"):
                pass
            assert bbs.received[-1].path == INSTANCES

    run(main)


def test_forgotten_fallbacks_are_asked_for_in_the_newest_way() -> None:
    async def main() -> None:
        async with (
            serving(by_path({"/v1/events/lrp_instances": STREAM_HEAD})) as bbs,
            BBSClient(bbs.url) as client,
        ):
            async with client.events("instances"):
                client.forget_fallbacks()
            async with client.events("instances"):
                pass
            assert [received.path for received in bbs.received].count(INSTANCES) == 2

    run(main)
