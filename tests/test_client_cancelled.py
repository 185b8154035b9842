"""Requests and clients that are cancelled: connections are closed and nothing is left behind."""

import gc
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest
import trio
from client_support import STREAM_HEAD, Received, a_list, a_stream, body, by_path, chunk, reply, run, serving

from lrpmirror.client import BBSClient

FRAME = b"id: 0\nevent: task_created\ndata: AA==\n\n"


def test_a_cancelled_list_closes_its_connection() -> None:
    closed = trio.Event()

    async def script(_received: Received, stream: trio.abc.Stream) -> bool:
        await stream.send_all(reply(body(5), length=1_000_000))
        assert await stream.receive_some() == b""
        closed.set()
        return False

    async def main() -> None:
        async with serving(script) as bbs, BBSClient(bbs.url) as client:
            with trio.CancelScope() as scope:
                async with client.stream_list("actual_lrps") as batches:
                    assert len(await anext(batches)) == 5
                    scope.cancel()
                    await anext(batches)
            assert scope.cancelled_caught
            await closed.wait()

    run(main)


@pytest.mark.parametrize("way", ["list", "stream"])
def test_a_request_can_be_cancelled_at_any_moment_and_leaves_nothing_behind(way: str) -> None:
    answers = {"/v1/actual_lrps/list": reply(body(3)), "/v1/events/lrp_instances.r1": STREAM_HEAD}

    async def cancelled_after(turns: int, client: BBSClient) -> bool:
        async with trio.open_nursery() as nursery:

            async def cancel() -> None:
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()

            nursery.start_soon(cancel)
            await (a_list if way == "list" else a_stream)(client)
            nursery.cancel_scope.cancel()
            return False
        return True

    async def main() -> None:
        turns = 0
        async with serving(by_path(answers)) as bbs:
            while True:
                async with BBSClient(bbs.url) as client:
                    if not await cancelled_after(turns, client):
                        break
                    await a_list(client)
                turns += 1
        # Connection, request and reply each wait at least once.
        assert turns > 2

    run(main)
    # What was left behind is found here, and fails the test as a ResourceWarning.
    gc.collect()


@pytest.mark.parametrize("way", ["list", "stream"])
def test_what_is_cancelled_between_two_reads_closes_its_connection_and_leaves_nothing_behind(way: str) -> None:
    closed = trio.Event()

    async def script(received: Received, stream: trio.abc.Stream) -> bool:
        listed = received.path == "/v1/actual_lrps/list"
        await stream.send_all(reply(body(5), length=1_000_000) if listed else STREAM_HEAD + chunk(FRAME))
        assert await stream.receive_some() == b""
        closed.set()
        return False

    async def main() -> None:
        async with serving(script) as bbs, BBSClient(bbs.url) as client:
            with trio.CancelScope() as scope:
                reading: AbstractAsyncContextManager[AsyncIterator[object]] = (
                    client.stream_list("actual_lrps") if way == "list" else client.events("instances")
                )
                async with reading as batches:
                    await anext(batches)
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
            assert scope.cancelled_caught
            await closed.wait()

    run(main)
    gc.collect()


def test_a_client_that_is_left_by_cancellation_closes_its_idle_connections() -> None:
    closed = trio.Event()

    async def script(_received: Received, stream: trio.abc.Stream) -> bool:
        await stream.send_all(reply(body(1)))
        assert await stream.receive_some() == b""
        closed.set()
        return False

    async def main() -> None:
        async with serving(script) as bbs:
            with trio.CancelScope() as scope:
                async with BBSClient(bbs.url) as client:
                    await client.actual_lrps()
                    scope.cancel()
            await closed.wait()

    run(main)
