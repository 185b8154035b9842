"""A mirror for a command, synchronised or an error; and the answer to a query kept up to date: all, then changes."""

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Literal

import msgspec
import trio

from lrpmirror.background import background
from lrpmirror.cli.shared.arguments import target
from lrpmirror.cli.shared.output import LineWriter, say_of
from lrpmirror.cli.shared.progress import Waiting
from lrpmirror.cli.shared.signals import until_interrupted
from lrpmirror.core.derived.view import AnyView, K, Process, V, View
from lrpmirror.core.freshness.status import Status
from lrpmirror.errors import BBSError, WireError
from lrpmirror.mirror import Mirror, open_mirror
from lrpmirror.relay import Client

_GLANCE: Final = 0.02


@asynccontextmanager
async def following(
    args: argparse.Namespace,
    *,
    detail: Literal["routing", "full"] = "routing",
    stream: Literal["instances", "groups"] = "instances",
) -> AsyncIterator[tuple[Mirror, Client]]:
    """Open a mirror of the BBS that is named, and wait for the state; yields its client too. Raises the first error."""
    waiting = Waiting("listing")
    async with waiting.client(target(args)) as client, open_mirror(client, detail=detail, stream=stream) as mirror:
        async with waiting.shown():
            while (status := mirror.status).synced_at is None:
                if status.last_error is not None:
                    raise status.last_error
                # A list that fails wakes no waiter, so it is polled.
                await trio.sleep(_GLANCE)
        yield mirror, client


def passing(seconds: float, more: Callable[[], str]) -> Callable[[], str]:
    """Return what makes the line of progress of following for so many seconds from now."""
    began = trio.current_time()
    return lambda: f"following: {trio.current_time() - began:.0f} of {seconds:.0f} s, {more()}"


@asynccontextmanager
async def watching(
    args: argparse.Namespace, name: str, *, detail: Literal["routing", "full"] = "routing"
) -> AsyncIterator[Mirror]:
    """Open a mirror as `following`, until interrupted; says on stderr, by the command's name, when it is not live."""
    report = _reporter(name)
    async with until_interrupted(), following(args, detail=detail) as (mirror, _), background() as nursery:
        nursery.start_soon(report_phases, mirror, lambda status: report(status.live, status.trouble))
        yield mirror


def _reporter(name: str) -> Callable[[bool, object], None]:
    """Return what says on stderr when the command of that name loses touch with the BBS, and when it is live again."""
    was_live = True

    def report(live: bool, trouble: object) -> None:
        nonlocal was_live
        if live is not was_live:
            text = "live again, with what was missed" if live else f"not live: {trouble}; trying again"
            say_of(name, f"note: {text}")
        was_live = live

    return report


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


POLL: Final = 2.0  # seconds between two lists of what the BBS sends no events of


class Picked(View[Hashable, Any, Any]):
    """What a function picks of each process; each key is of one process."""

    def __init__(self, pick: Callable[[Process], Mapping[Any, Any]]) -> None:
        self._pick = pick

    def derive(self, process: Process) -> Mapping[Hashable, Any]:
        """Return what is picked of a process."""
        return self._pick(process)

    def combine(self, key: Hashable, contributions: Mapping[str, Any]) -> Any:  # noqa: ARG002 - as in View
        """Return the only contribution."""
        return next(iter(contributions.values()))


def _change_line(show: Callable[[Any], object], before: object, after: object, **more: object) -> bytes:
    """Return a change as a line of JSON, its sides by `show`; None for "not there"."""
    change = "added" if before is None else "removed" if after is None else "changed"
    sides = {"before": None if before is None else show(before), "after": None if after is None else show(after)}
    return msgspec.json.encode({"change": change, **sides, **more})


async def watch(
    mirror: Mirror,
    view: AnyView[K, Any, V],
    out: LineWriter,
    *,
    first: Callable[[Mapping[K, V]], Iterable[bytes]],
    show: Callable[[K, V], object],
    wanted: Callable[[K], bool] = lambda _: True,
) -> None:
    """Print the `wanted` keys of a view, as lines by `first`, then their changes, each side by `show`; for ever."""
    followed = await mirror.view(view)
    async with followed.changes(replay=False) as changes:
        # Nothing can change between the subscription and this: there is no await in between.
        await out.write(first({key: value for key, value in followed.items() if wanted(key)}))
        async for batch in changes:
            await out.write(
                _change_line(partial(show, one.key), one.before, one.after, revision=one.revision, cause=one.cause)
                for one in batch
                if wanted(one.key)
            )


async def poll(
    ask: Callable[[], Awaitable[Iterable[V]]],
    key: Callable[[V], Hashable],
    out: LineWriter,
    show: Callable[[V], object],
    name: str,
) -> None:
    """Print a list, then its changes from list to list, for ever; only errors of the first list are raised."""
    known = {key(value): value for value in await ask()}
    await out.write(msgspec.json.encode(show(value)) for value in known.values())
    report = _reporter(name)
    while True:
        await trio.sleep(POLL)
        try:
            now = {key(value): value for value in await ask()}
        except (BBSError, WireError) as error:
            report(False, error)
            continue
        report(True, None)
        await out.write(list(_changes(known, now, show)))
        known = now


def _changes(before: Mapping[Any, V], after: Mapping[Any, V], show: Callable[[V], object]) -> Iterator[bytes]:
    for key in dict.fromkeys((*before, *after)):
        was, now = before.get(key), after.get(key)
        if was != now:
            yield _change_line(show, was, now)
