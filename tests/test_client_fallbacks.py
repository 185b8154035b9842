"""What a client has learnt that its server is too old for, it forgets where another server may answer from now on."""

from collections.abc import Awaitable, Callable

import httpx
import pytest
from client_support import PROTOBUF, run

from lrpmirror.client import BBSClient
from lrpmirror.errors import BBSError, UnexpectedReply, UnknownPath

URL = "http://bbs.test:8889"
NEWEST = "/v1/actual_lrps/list_by_process_guids"
PING = "/v1/ping"


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
