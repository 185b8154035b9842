"""One connection to a server of Redis: which reply is whose, and what ends it."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from lrpmirror.relay._connection import ANSWER, Connection, encoded, encoded_lines


def simulated(test: Callable[[Connection, trio.abc.Stream], Awaitable[None]]) -> Callable[[], None]:
    @wraps(test)
    def run_test() -> None:
        async def main() -> None:
            ours, theirs = memory_stream_pair()
            await test(Connection(ours), theirs)

        trio.run(main, clock=MockClock(autojump_threshold=0))

    # The parameters are not fixtures.
    del run_test.__wrapped__
    return run_test


async def sent(server: trio.abc.Stream) -> bytes:
    return bytes(await server.receive_some(65_536))


@simulated
async def test_a_command_goes_out_as_bytes_of_known_length(redis: Connection, server: trio.abc.Stream) -> None:
    redis.request(b"SET", "kéy", 12, b"\x00\r\n", "")
    await redis.send()
    assert await sent(server) == b"*5\r\n$3\r\nSET\r\n$4\r\nk\xc3\xa9y\r\n$2\r\n12\r\n$3\r\n\x00\r\n\r\n$0\r\n\r\n"


@given(st.lists(st.binary(max_size=3).filter(lambda line: b"\n" not in line), min_size=1, max_size=4))
def test_lines_go_out_as_the_parts_that_they_are(lines: list[bytes]) -> None:
    assert encoded_lines(b"\n".join(lines)) == encoded(lines)


@simulated
async def test_a_command_can_have_parts_that_are_encoded(redis: Connection, server: trio.abc.Stream) -> None:
    redis.request("b", beginning=encoded([b"A"]), rest=encoded_lines(b"cc\ndd"))
    await redis.send()
    assert await sent(server) == b"*4\r\n$1\r\nA\r\n$1\r\nb\r\n$2\r\ncc\r\n$2\r\ndd\r\n"


@simulated
async def test_each_reply_is_that_of_its_command(redis: Connection, server: trio.abc.Stream) -> None:
    first, second = redis.request(b"A"), redis.request(b"B")
    for part in (b"+on", b"e\r\n*2\r\n$1\r\n", b"x\r\n:2\r\n-WRONGTYPE no\r\n:", b"4\r\n"):
        await server.send_all(part)
    assert await redis.reply(second) == [b"x", 2]
    with pytest.raises(Exception, match="no"):
        await redis.ask(b"C")
    assert await redis.reply(first) == b"one"
    assert await redis.ask(b"D") == 4


@simulated
async def test_what_was_requested_goes_out_with_what_is_sent_next(redis: Connection, server: trio.abc.Stream) -> None:
    redis.request(b"A")
    redis.request(b"B")
    with trio.move_on_after(1):
        await redis.ask(b"C")
    assert await sent(server) == b"".join(b"*1\r\n$1\r\n%c\r\n" % name for name in b"ABC")
    with trio.move_on_after(1) as scope:
        await sent(server)
    assert scope.cancelled_caught


@simulated
async def test_a_wait_that_was_given_up_takes_no_reply_from_another(redis: Connection, server: trio.abc.Stream) -> None:
    with trio.move_on_after(1) as scope:
        await redis.ask(b"A")
    assert scope.cancelled_caught
    await server.send_all(b"+late\r\n+own\r\n")
    assert await redis.ask(b"B") == b"own"


@simulated
async def test_who_does_not_answer_or_has_gone_is_an_error(redis: Connection, server: trio.abc.Stream) -> None:
    began = trio.current_time()
    with pytest.raises(TimeoutError):
        await redis.ask(b"A")
    assert trio.current_time() - began == pytest.approx(ANSWER)
    await server.aclose()
    with pytest.raises((ConnectionError, trio.BrokenResourceError)):
        await redis.ask(b"A")


@simulated
async def test_what_was_sent_in_part_is_followed_by_nothing(redis: Connection, server: trio.abc.Stream) -> None:
    del server

    async def stuck() -> None:
        await trio.sleep_forever()

    stream: Any = redis._stream
    stream.send_stream.send_all_hook = stuck
    with pytest.raises(TimeoutError):
        await redis.ask(b"A")
    stream.send_stream.send_all_hook = None
    with pytest.raises(BrokenPipeError):
        await redis.ask(b"A")
