"""Record a BBS's lists and event streams into a folder, until interrupted.

Record what a BBS sends into the new folder DIR: both event streams, and the
lists from just after they were opened. Ends at Ctrl-C, or after --seconds;
then the lists are read once more into DIR/expected, unless events keep coming
or a second Ctrl-C says not to. `lrpmirror replay DIR` reads it.

Secrets stay out: desired LRPs are recorded without environment, actions and
credentials, and their routes without what is meant for other routers than the
HTTP, TCP and internal ones. --with-secrets records every byte as it came.
Either way only the owner can read the files.
"""

import argparse
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

import trio

from lrpmirror.background import background
from lrpmirror.cli.shared.arguments import add_bbs, seconds, target
from lrpmirror.cli.shared.progress import Progress
from lrpmirror.cli.shared.signals import interruptible
from lrpmirror.client import BBSClient, EventStream
from lrpmirror.errors import ConfigurationError, LRPMirrorError, RequestRefused, UnknownPath
from lrpmirror.mirror._bbs import ListName
from lrpmirror.recording import Recorder
from lrpmirror.relay import is_relay

SETTLE: Final = 0.3  # seconds without events that the last lists need after them, to be the end state of the events
TRIES: Final = 3  # how many times these lists are tried
TICK: Final = 0.5  # seconds between two looks whether it can still be written


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("dir", metavar="DIR", help="the folder to make; it may exist if it is empty")
    add("--seconds", type=seconds, metavar="N", help="end after N seconds instead of at Ctrl-C")
    add("--note", default="", help="a note on what is recorded, kept in the recording")
    add("--with-secrets", action="store_true", help="record desired LRPs whole: environments and credentials")
    add_bbs(parser)


async def run(args: argparse.Namespace) -> None:
    """Record until it is enough."""
    where = target(args)
    if is_relay(where.url):
        raise ConfigurationError(f"{where.name} is a relay: what is recorded is the traffic of a BBS; name that")
    async with interruptible() as asked:
        with Recorder(args.dir, secrets=args.with_secrets, note=args.note) as recorder:
            session = _Session(recorder, asked, args.with_secrets)
            async with BBSClient(where.url, tls=where.tls, tap=recorder.tap) as client:
                await session.run(client, float("inf") if args.seconds is None else args.seconds)
        session.report()
        if session.lost is not None:
            raise session.lost


@dataclass
class _Session:
    """One recording in progress."""

    recorder: Recorder
    asked: trio.Event
    secrets: bool
    since: float = field(default_factory=trio.current_time)
    doing: str = "listing"
    lost: LRPMirrorError | None = None

    def __post_init__(self) -> None:
        self.progress = Progress(lambda: f"{self.doing}: {self._line()}", elsewhere=True)

    async def run(self, client: BBSClient, seconds: float) -> None:
        """Record until interrupted, or for so many seconds once the first lists are in."""
        async with AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(client.events("instances"))]
            try:
                streams.append(await stack.enter_async_context(client.events("groups")))
            except UnknownPath:
                self.progress.say("lrpmirror record: note: this server has no group stream; it is left out")
            async with background() as nursery, self.progress.shown():
                for stream in streams:
                    nursery.start_soon(self._drain, stream)
                nursery.start_soon(self._watch)
                async with background() as first:
                    # Without these lists, an interruption leaves nothing of use.
                    first.start_soon(self._give_up)
                    await self._list(client)
                self.doing = "recording, Ctrl-C to finish"
                with trio.move_on_after(seconds):
                    await self.asked.wait()
                if self.lost is None and self.recorder.error is None:
                    self.doing = "listing once more"
                    await self._expected(client)

    def report(self) -> None:
        """Print the progress."""
        counts = self.recorder.counts
        self.progress.say(f"recorded {self._line()} in {self.recorder.path}")
        if not counts.events.get("instances"):
            self.progress.say("lrpmirror record: note: no event came, so a replay shows the lists only")

    async def _drain(self, stream: EventStream) -> None:
        try:
            async for _ in stream:
                pass
        except LRPMirrorError as error:
            # What was recorded until then is whole; what comes on another connection would hide a gap.
            self.lost = self.lost or error
            self.recorder.end(str(error))
            self.asked.set()

    async def _watch(self) -> None:
        while self.recorder.error is None:  # noqa: ASYNC110 - it is set by whoever writes, which wakes nobody
            await trio.sleep(TICK)
        self.asked.set()

    def _line(self) -> str:
        counts = self.recorder.counts
        events = ", ".join(f"{count} {name}" for name, count in counts.events.items())
        passed = trio.current_time() - self.since
        return f"{sum(counts.events.values())} events ({events}), {counts.bytes / 1024:.0f} KiB in {passed:.0f} s"

    async def _give_up(self) -> None:
        await self.asked.wait()
        raise self.lost or KeyboardInterrupt

    async def _expected(self, client: BBSClient) -> None:
        """List everything again, so that no event comes during that or just after."""
        recorder = self.recorder
        recorder.expect()
        for _ in range(TRIES):
            before = recorder.counts.events
            try:
                await self._list(client)
            except LRPMirrorError as error:
                self.progress.say(f"lrpmirror record: note: no expected lists: {error}")
                recorder.drop_expected()
                return
            except trio.Cancelled:
                recorder.drop_expected()
                raise
            await trio.sleep(SETTLE)
            if recorder.counts.events == before:
                return
        recorder.drop_expected()
        self.progress.say("lrpmirror record: note: events kept coming, so there are no expected lists")

    async def _list(self, client: BBSClient) -> None:
        await client.domains()
        await self._read(client, "actual_lrps", "actual_lrp_groups")
        try:
            await self._read(client, "scheduling_infos", "routing_infos")
            whole = self.secrets
        except UnknownPath:
            whole = True
        if whole:
            await self._read(client, "desired_lrps")
        # The cells are kept by another service, which can be down while the BBS is well.
        with suppress(RequestRefused, UnknownPath):
            await client.cells()

    async def _read(self, client: BBSClient, *names: ListName) -> None:
        for name in names:
            async with client.stream_list(name) as batches:
                async for _ in batches:
                    pass
