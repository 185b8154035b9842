"""What a client has opened it closes, also where it is cancelled at that very moment and closing takes a while."""

from collections.abc import AsyncIterator

import httpx
import pytest
import trio
from client_support import PROTOBUF
from trio.testing import MockClock

from lrpmirror.client import BBSClient
from lrpmirror.errors import ConnectionFailed
from lrpmirror.model import ActualLRP
from lrpmirror.wire import encode

URL = "http://bbs.test:8889"
ROW = encode.actual_lrp(ActualLRP(process_guid="p"))
FRAME = b"event: e\ndata: YQ==\n\n"


class Slow(httpx.AsyncBaseTransport):
    """A network in which closing takes some seconds; `open` is what has not been closed yet."""

    def __init__(self) -> None:
        self.open: set[object] = {self}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        stream = request.url.path.startswith("/v1/events")
        body = self.Body(self, FRAME if stream else encode.reply([ROW] * 10))
        self.open.add(body)
        content_type = "text/event-stream" if stream else PROTOBUF
        return httpx.Response(200, headers={"Content-Type": content_type}, stream=body, request=request)

    async def aclose(self) -> None:
        await trio.sleep(3)
        self.open.discard(self)

    class Body(httpx.AsyncByteStream):
        def __init__(self, owner: "Slow", piece: bytes) -> None:
            self._owner = owner
            self._piece = piece

        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield self._piece
                await trio.sleep(1)

        async def aclose(self) -> None:
            await trio.sleep(3)
            self._owner.open.discard(self)


@pytest.mark.parametrize("name", ["list", "stream"])
@pytest.mark.parametrize("seconds", [0.0, 2.5])
def test_a_reply_that_is_cancelled_is_closed_all_the_same(name: str, seconds: float) -> None:
    async def main() -> None:
        network = Slow()
        async with BBSClient(URL, transport=network) as client:
            with trio.move_on_after(seconds):
                # Twice, since one look at what is there already is no wait.
                if name == "list":
                    async with client.stream_list("actual_lrps") as batches:
                        async for _ in batches:
                            assert len(network.open) == 2
                else:
                    async with client.events("instances") as events:
                        async for _ in events:
                            assert len(network.open) == 2
            assert network.open == {network}

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_client_that_is_cancelled_closes_its_network_all_the_same() -> None:
    async def main() -> None:
        network = Slow()
        with trio.CancelScope() as scope:
            async with BBSClient(URL, transport=network):
                scope.cancel()
        assert not network.open

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("name", ["list", "stream"])
def test_what_was_left_in_the_middle_is_not_gone_on_with(name: str) -> None:
    """What a wait that was given up would have brought can be lost, and nobody could tell."""

    async def main() -> None:
        async with (
            BBSClient(URL, transport=Slow()) as client,
            client.stream_list("actual_lrps") if name == "list" else client.events("instances") as reading,
        ):
            await anext(reading)
            with trio.move_on_after(0.5) as patience:
                await anext(reading)
            assert patience.cancelled_caught
            for _ in range(2):
                with pytest.raises(ConnectionFailed, match="has been read to its end, or left"):
                    await anext(reading)

    trio.run(main, clock=MockClock(autojump_threshold=0))
