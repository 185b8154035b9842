"""The answer to a query kept up to date: first all of it, then a line for each change."""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec
import trio

from lrpmirror.cli.shared.lines import LineWriter
from lrpmirror.core.derived.view import AnyView, Process, View
from lrpmirror.core.rows.changes import RowKey, row_key
from lrpmirror.core.rows.groups import groups_of
from lrpmirror.errors import BBSError, WireError
from lrpmirror.mirror import Mirror
from lrpmirror.model import ActualLRP, ActualLRPGroup, DesiredLRP

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

POLL: Final = 2.0
"""Seconds between two lists of what the BBS sends no events of."""


class RowsOf(View[RowKey, ActualLRP, ActualLRP]):
    """The rows that a predicate wants."""

    def __init__(self, wanted: Callable[[ActualLRP], bool]) -> None:
        self._wanted = wanted

    def derive(self, process: Process) -> Mapping[RowKey, ActualLRP]:
        """Return the rows of a process."""
        return {row_key(row): row for row in process.rows if self._wanted(row)}

    # The parameters are those of View; each key has one contribution.
    def combine(self, key: RowKey, contributions: Mapping[str, ActualLRP]) -> ActualLRP:  # noqa: ARG002
        """Return the row."""
        return _only(contributions)


class GroupsOf(View[tuple[str, int], ActualLRPGroup, ActualLRPGroup]):
    """The groups of the rows that a predicate wants, by process guid and index."""

    def __init__(self, wanted: Callable[[ActualLRP], bool]) -> None:
        self._wanted = wanted

    def derive(self, process: Process) -> Mapping[tuple[str, int], ActualLRPGroup]:
        """Return the groups of a process."""
        groups = groups_of(filter(self._wanted, process.rows))
        return {(process.guid, group.resolve().index): group for group in groups}

    # The parameters are those of View; each key has one contribution.
    def combine(self, key: tuple[str, int], contributions: Mapping[str, ActualLRPGroup]) -> ActualLRPGroup:  # noqa: ARG002
        """Return the group."""
        return _only(contributions)


class DesiredOf(View[str, DesiredLRP, DesiredLRP]):
    """The desired LRPs that a predicate wants."""

    def __init__(self, wanted: Callable[[DesiredLRP], bool]) -> None:
        self._wanted = wanted

    def derive(self, process: Process) -> Mapping[str, DesiredLRP]:
        """Return the desired LRP of a process."""
        desired = process.desired
        return {} if desired is None or not self._wanted(desired) else {process.guid: desired}

    # The parameters are those of View; each key has one contribution.
    def combine(self, key: str, contributions: Mapping[str, DesiredLRP]) -> DesiredLRP:  # noqa: ARG002
        """Return the desired LRP."""
        return _only(contributions)


def _only(contributions: Mapping[str, V]) -> V:
    return next(iter(contributions.values()))


def change_line(before: object | None, after: object | None, **more: object) -> bytes:
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
    """Print what a view of the mirror has, as `first` does it, then its changes, each side as `show` does it.

    `wanted` restricts it to some keys. For ever: until cancelled.
    """
    kept = await mirror.view(view)
    async with kept.changes(replay=False) as changes:
        # Nothing can change between the subscription and this: there is no await in between.
        await out.write(first({key: value for key, value in kept.items() if wanted(key)}))
        async for batch in changes:
            await out.write(
                change_line(
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
    note: Callable[[str], None],
) -> None:
    """Print a list, then its changes from list to list; for ever.

    Errors of the first list are raised; later ones are tried again.
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
                note(f"not live: {' '.join(str(error).split())}; trying again")
            well = False
            continue
        if not well:
            note("live again, with what was missed")
        well = True
        now = {key(value): value for value in answer}
        await out.write(list(_changes(known, now, show)))
        known = now


def _changes(before: Mapping[Any, V], after: Mapping[Any, V], show: Callable[[V], object]) -> Iterator[bytes]:
    for key in dict.fromkeys((*before, *after)):
        was, now = before.get(key), after.get(key)
        if was != now:
            yield change_line(None if was is None else show(was), None if now is None else show(now))
