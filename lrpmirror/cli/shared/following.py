"""A mirror for a command: opened and synchronised, or an error; its phases reported on stderr."""

import argparse
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal

import trio
from msgspec import Struct

from lrpmirror.cli.shared import bbs
from lrpmirror.cli.shared.output import say
from lrpmirror.cli.shared.signals import interruptible
from lrpmirror.cli.shared.waiting import CountedBBS, Waiting
from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.session import Tuning
from lrpmirror.mirror import Mirror, open_mirror
from lrpmirror.relay import Client, client_at

_GLANCE: Final = 0.02


class Following(Struct, frozen=True):
    """A synchronised mirror and its client."""

    mirror: Mirror
    client: Client


@asynccontextmanager
async def following(
    args: argparse.Namespace,
    *,
    detail: Literal["routing", "full"] = "routing",
    stream: Literal["instances", "groups"] = "instances",
    tuning: Tuning | None = None,
) -> AsyncIterator[Following]:
    """Open a mirror of the BBS that the arguments name, and wait until it has the state.

    Raises the first error until then, instead of trying again: it is mostly a wrong address or certificate.
    """
    where = bbs.target(args)
    waiting = Waiting("listing")
    async with (
        client_at(where.url, tls=where.tls, tap=waiting.tap) as client,
        open_mirror(CountedBBS(client, waiting), detail=detail, stream=stream, tuning=tuning) as mirror,
    ):
        async with waiting.shown():
            await _synced(mirror)
        yield Following(mirror, client)


async def _synced(mirror: Mirror) -> None:
    while (status := mirror.status).synced_at is None:
        if status.last_error is not None:
            raise status.last_error
        # A list that fails wakes no waiter, so it is polled.
        await trio.sleep(_GLANCE)


@asynccontextmanager
async def until_interrupted() -> AsyncIterator[None]:
    """Leave the block, quietly, when the process is asked to end."""
    async with interruptible() as asked, trio.open_nursery() as nursery:

        async def leave() -> None:
            await asked.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(leave)
        yield
        nursery.cancel_scope.cancel()


async def tell_phases(mirror: Mirror, name: str) -> None:
    """Say on stderr when the mirror loses touch, and when it has caught up; for ever."""
    known = Phase.LIVE
    while True:
        await mirror.wait_for(_is_not_in(known))
        status = mirror.status
        if known is Phase.LIVE:
            say(f"{name}: note: not live: {' '.join(str(status.trouble).split())}; trying again")
        elif status.live:
            say(f"{name}: note: live again, with what was missed")
        known = status.phase


def _is_not_in(phase: Phase) -> Callable[[Mirror], bool]:
    return lambda mirror: mirror.status.phase is not phase
