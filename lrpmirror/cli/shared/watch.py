"""The answer to a query kept up to date: first all of it, then a line for each change."""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec
import trio

from lrpmirror.cli.shared.following import note
from lrpmirror.cli.shared.output import LineWriter
from lrpmirror.core.derived.view import AnyView, Process, View
from lrpmirror.errors import BBSError, WireError
from lrpmirror.mirror import Mirror

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

POLL: Final = 2.0
"""Seconds between two lists of what the BBS sends no events of."""


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


def _change_line(before: object | None, after: object | None, **more: object) -> bytes:
    """Return a change as a line of JSON; the sides are JSON-ready, None for "not there"."""
    change = "added" if before is None else "removed" if after is None else "changed"
    return msgspec.json.encode({"change": change, "before": before, "after": after, **more})


async def watch(
    mirror: Mirror,
    view: AnyView[K, Any, V],
    out: LineWriter,
    *,
    first: Callable[[Mapping[K, V]], Iterable[bytes]],
    show: Callable[[K, V], object],
    wanted: Callable[[K], bool] = lambda _: True,
) -> None:
    """Print what a view of the mirror has, as lines by `first`, then its changes, each side by `show`; for ever.

    `wanted` restricts it to some keys.
    """
    followed = await mirror.view(view)
    async with followed.changes(replay=False) as changes:
        # Nothing can change between the subscription and this: there is no await in between.
        await out.write(first({key: value for key, value in followed.items() if wanted(key)}))
        async for batch in changes:
            await out.write(
                _change_line(
                    None if one.before is None else show(one.key, one.before),
                    None if one.after is None else show(one.key, one.after),
                    revision=one.revision,
                    cause=one.cause,
                )
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
    """Print a list, then its changes from list to list; for ever.

    Errors of the first list are raised; later ones are tried again, which stderr says by the `name` of the command.
    """
    known = {key(value): value for value in await ask()}
    await out.write(msgspec.json.encode(show(value)) for value in known.values())
    well = True
    while True:
        await trio.sleep(POLL)
        try:
            answer = await ask()
        except (BBSError, WireError) as error:
            if well:
                note(name, f"not live: {error}; trying again")
            well = False
            continue
        if not well:
            note(name, "live again, with what was missed")
        well = True
        now = {key(value): value for value in answer}
        await out.write(list(_changes(known, now, show)))
        known = now


def _changes(before: Mapping[Any, V], after: Mapping[Any, V], show: Callable[[V], object]) -> Iterator[bytes]:
    for key in dict.fromkeys((*before, *after)):
        was, now = before.get(key), after.get(key)
        if was != now:
            yield _change_line(None if was is None else show(was), None if now is None else show(now))
