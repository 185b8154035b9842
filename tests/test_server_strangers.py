"""Whatever strangers send, in whatever pieces, someone else goes on being served by each of the servers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
import trio
from http_support import connect, parsed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import PATIENCE
from replica_support import replicating
from sim_support import A, diego, run, wanted

from lrpmirror.serve.ops import ops_routes
from lrpmirror.server import LISTS, PING, STREAMS, WRITES, Host
from lrpmirror.sim import serve_diego

OPS = ("/", "/healthz", "/readyz", "/metrics", "/page/state")
PATHS = (*LISTS, *STREAMS, *WRITES, PING, *OPS, "*", "/nothing", "http://x/healthz", "x:1", "//", "/%ff%00?a=b")
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW", "get", "P\x00ST", "")
HEADERS = (
    "Host: x", "Host: x\r\nHost: y", "Connection: close", "Connection: upgrade\r\nUpgrade: h2c", "Expect: 100-continue",
    "Content-Length: 0", "Content-Length: 3", "Content-Length: 99999999999999999999", "Content-Length: x",
    "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Folded: a\r\n b", "A: \x00", ": a", "A : b",
    "X-Vcap-Request-Id: \xff", "Content-Type: application/x-protobuf",
)  # fmt: skip
BODIES = (
    b"",
    b"abc",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"0\r\n\r\n",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"\x0a\x01d",
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """What might have been a request."""
    method, path = draw(st.sampled_from(METHODS)), draw(st.sampled_from(PATHS))
    version = draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0", "2.0", "9"]))
    headers = draw(st.lists(st.sampled_from(HEADERS), max_size=4))
    end = draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n"]))
    lines = [f"{method} {path} HTTP/{version}", *draw(st.sampled_from([["Host: x"], ["Host: x"], []])), *headers]
    return (end.join(lines) + end * 2).encode("latin-1") + draw(st.sampled_from(BODIES) | st.binary(max_size=50))


sendings = st.lists(
    st.tuples(
        st.binary(max_size=200) | requests() | requests() | st.tuples(requests(), requests()).map(b"".join),
        st.floats(0, 1),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)
"""On connections of their own: bytes, where they are cut in two, and whether the second half is sent."""


async def offend(host: Host, data: bytes, cut: float, whole: bool) -> None:
    """Send it, and see to it that what is answered is HTTP, as far as it goes."""
    async with await connect(host) as stream:
        at = int(len(data) * cut)
        received = bytearray()
        with suppress(trio.BrokenResourceError), trio.move_on_after(0.02):
            for part in (data[:at], data[at:]) if whole else (data[:at],):
                if part:
                    await stream.send_all(part)
            while more := await stream.receive_some():
                received += more
        assert not received or received.startswith(b"HTTP/1.1 "), bytes(received)


class Other:
    """Somebody whose one connection stays."""

    def __init__(self, stream: trio.SocketStream, raw: bytes) -> None:
        self._stream = stream
        self._raw = raw

    async def is_served(self) -> None:
        await self._stream.send_all(self._raw)
        with trio.fail_after(PATIENCE):
            [reply] = parsed(await self._stream.receive_some())
        assert reply.status == 200


Opened = Callable[[AsyncExitStack], Awaitable[tuple[Host, bytes]]]


async def simulation(stack: AsyncExitStack) -> tuple[Host, bytes]:
    bbs = diego()
    bbs.desire(wanted(instances=2))
    run(bbs, A)
    served = await stack.enter_async_context(serve_diego(bbs))
    return served.host, b"POST /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n"


async def replica(stack: AsyncExitStack) -> tuple[Host, bytes]:
    above, _ = await simulation(stack)
    served = await stack.enter_async_context(replicating(above.url, routes=ops_routes))
    await served.mirror.wait_synced(10)
    return served.host, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def beside(opened: Opened) -> AsyncIterator[tuple[Host, Other]]:
    async with AsyncExitStack() as stack:
        host, raw = await opened(stack)
        stream = await stack.enter_async_context(await connect(host))
        yield host, Other(stream, raw)


@pytest.mark.parametrize("opened", [simulation, replica], ids=lambda opened: opened.__name__)
@given(sendings)
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_somebody_else_goes_on_being_served(
    opened: Opened, sent: list[tuple[bytes, float, bool]]
) -> None:
    async def main() -> None:
        async with beside(opened) as (host, other):
            for data, cut, whole in sent:
                await offend(host, data, cut, whole)
                await other.is_served()
            assert not host.traffic.failures

    trio.run(main)
