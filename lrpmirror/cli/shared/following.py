"""A mirror for a command: opened and synchronised, or an error; its phases reported on stderr."""

import argparse
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal

import trio

from lrpmirror.background import background
from lrpmirror.cli.shared import bbs
from lrpmirror.cli.shared.output import say
from lrpmirror.cli.shared.progress import Waiting
from lrpmirror.cli.shared.signals import until_interrupted
from lrpmirror.core.freshness.status import Status
from lrpmirror.mirror import Mirror, open_mirror
from lrpmirror.relay import Client, client_at

_GLANCE: Final = 0.02


@asynccontextmanager
async def following(
    args: argparse.Namespace,
    *,
    detail: Literal["routing", "full"] = "routing",
    stream: Literal["instances", "groups"] = "instances",
) -> AsyncIterator[tuple[Mirror, Client]]:
    """Open a mirror of the BBS that the arguments name, and wait until it has the state; yields its client too.

    Raises the first error until then, instead of trying again: it is mostly a wrong address or certificate.
    """
    where = bbs.target(args)
    waiting = Waiting("listing")
    async with (
        client_at(where.url, tls=where.tls, tap=waiting.tap) as client,
        open_mirror(waiting.counted(client), detail=detail, stream=stream) as mirror,
    ):
        async with waiting.shown():
            while (status := mirror.status).synced_at is None:
                if status.last_error is not None:
                    raise status.last_error
                # A list that fails wakes no waiter, so it is polled.
                await trio.sleep(_GLANCE)
        yield mirror, client


@asynccontextmanager
async def watching(
    args: argparse.Namespace, name: str, *, detail: Literal["routing", "full"] = "routing"
) -> AsyncIterator[Mirror]:
    """Open a mirror as `following` does, until interrupted; stderr says when it loses touch and when it is live again.

    `name` is the command's.
    """
    was_live = True

    def report(status: Status) -> None:
        nonlocal was_live
        if was_live and not status.live:
            note(name, f"not live: {status.trouble}; trying again")
        elif status.live and not was_live:
            note(name, "live again, with what was missed")
        was_live = status.live

    async with until_interrupted(), following(args, detail=detail) as (mirror, _), background() as nursery:
        nursery.start_soon(report_phases, mirror, report)
        yield mirror


def note(name: str, text: str) -> None:
    """Print a note of the command of that name on stderr, in one line."""
    say(f"lrpmirror {name}: note: {' '.join(text.split())}")


async def report_phases(mirror: Mirror, report: Callable[[Status], None]) -> None:
    """Call `report` with the mirror's status at first and whenever its phase or trouble changes, for ever."""
    shown = ""

    def differs(_: Mirror) -> bool:
        # The phase is all that is shown while it is live.
        return mirror.phase != shown and _state(mirror.status) != shown

    while True:
        await mirror.wait_for(differs)
        shown = _state(mirror.status)
        report(mirror.status)


def _state(status: Status) -> str:
    """Return what is worth a line when it changes: not the numbers, and not the same failure again."""
    return status.phase if status.live else f"{status.phase} {status.trouble}"
