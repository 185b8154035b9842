"""Opening a mirror: its client, session, state file and tasks, which live as long as a block."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from os import PathLike
from random import Random
from typing import Literal

import trio

from lrpmirror.background import background
from lrpmirror.client import TLS, BBSClient, Limits, Timeouts
from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.core.session import Session
from lrpmirror.errors import ConfigurationError
from lrpmirror.mirror._bbs import BBS, StreamName
from lrpmirror.mirror._mirror import Mirror
from lrpmirror.mirror._state_file import StateFileWriter
from lrpmirror.relay import RelayClient, is_relay
from lrpmirror.statefile import StateFile


@asynccontextmanager
async def open_mirror(
    bbs: str | BBS,
    *,
    tls: TLS | None = None,
    stream: StreamName = "instances",
    detail: Literal["routing", "full"] = "routing",
    timeout: Timeouts | float | None = None,
    limits: Limits | None = None,
    state_file: str | PathLike[str] | StateFile | None = None,
    tuning: Tuning | None = None,
    rng: Random | None = None,
) -> AsyncIterator[Mirror]:
    """Open a mirror of a BBS, which lives as long as the block. It connects in the background; see `wait_synced`.

    `bbs` is the URL, such as `https://bbs.service.cf.internal:8889`, with `tls` for its certificates; or a client; or
    the URL of a relay, such as `redis://redis.service.cf.internal`, where `lrpmirror publish` keeps the state of a BBS:
    see `lrpmirror.relay.RelayClient`. `stream` is what to follow: "instances", or "groups" for old servers that have
    only those. `detail="full"` keeps whole desired LRPs, environments and credentials included. `timeout` and `limits`
    are how long a server may take and how much it may send. `tuning` has the mirror's own intervals, delays and limits;
    `rng` makes their jitter repeatable.

    `state_file` keeps the state from one run to the next. It is there before the block begins, STALE, its `state_age`
    by the system's clock: where that was set back since, the age is not known, and no check of freshness passes.
    `status.restored_at` is set until the first list is committed, whose commit is the true difference; revisions go on.
    What may hold secrets is not in the file: `detail`, and the routes of other routers than `cf-router`, `tcp-router`
    and `internal-router`, whose value is `null`; the first list brings them, without a change for subscribers. It is
    written every `Tuning.state_interval` seconds where anything has changed, and when the block ends, which waits for
    that up to `Tuning.state_patience` seconds. A file that is damaged, of a later version or of another BBS is renamed,
    and the mirror begins without it; that, like a failure to write, is logged and in `status.last_error`.

    Raises ConfigurationError for options or files that cannot be used. A BBS that cannot be reached is no error here:
    the status says so, and the mirror goes on trying. What a subscriber raises (by its error policy) ends the block,
    in an ExceptionGroup.
    """
    if stream not in ("instances", "groups"):
        raise ConfigurationError(f"stream={stream!r} is neither 'instances' nor 'groups'")
    if detail not in ("routing", "full"):
        raise ConfigurationError(f"detail={detail!r} is neither 'routing' nor 'full'")
    session = Session(tuning or Tuning(), rng or Random())  # noqa: S311 - jitter, not a secret
    clock = trio.lowlevel.current_clock().current_time
    async with AsyncExitStack() as stack:
        if isinstance(bbs, str) and is_relay(bbs):
            if timeout is not None or limits is not None or stream != "instances":
                raise ConfigurationError("a relay has no timeout, limits or stream of groups to choose")
            client: BBS = await stack.enter_async_context(RelayClient(bbs, tls=tls))
        elif isinstance(bbs, str):
            client = await stack.enter_async_context(
                BBSClient(bbs, tls=tls, timeout=timeout or Timeouts(), limits=limits or Limits())
            )
        elif tls is not None or timeout is not None or limits is not None:
            raise ConfigurationError("tls, timeout and limits belong to the client that was given: set them there")
        else:
            client = bbs
        state_file_writer = None
        if state_file is not None:
            file = state_file if isinstance(state_file, StateFile) else StateFile(state_file)
            state_file_writer = StateFileWriter(file, session, clock, getattr(client, "url", ""))
            stack.push_async_callback(state_file_writer.end)
            await state_file_writer.begin()
        # Closed only after the tasks: what reached one just before it was cancelled is still recorded.
        with ExitStack() as closing:
            async with background() as nursery:
                mirror = Mirror(client, session, nursery, clock, stream=stream, full=detail == "full")
                closing.callback(mirror._close)  # noqa: SLF001 - its own package
                if state_file_writer is not None:
                    closing.callback(state_file_writer.take_final_state)
                    nursery.start_soon(state_file_writer.run, lambda: mirror._publish(()))  # noqa: SLF001
                nursery.start_soon(mirror._follower.run)  # noqa: SLF001 - as above
                yield mirror
