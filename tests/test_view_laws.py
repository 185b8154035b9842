"""Laws of views and their subscribers over random histories: what is kept up to date is what follows from the state."""

from collections.abc import Hashable, Mapping
from typing import Any
from zlib import crc32

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace
from views_support import Beside, MemoryBBS, cell, desired, every_view, run_mocked, running, settled

from lrpmirror.core.derived.derive import Derivation, Process, View
from lrpmirror.core.derived.subscriptions import Hub, Mailbox
from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.rows.changes import Cause, Change, Delta
from lrpmirror.core.session import Tuning
from lrpmirror.events import (
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
)
from lrpmirror.mirror import Mirror, MirrorView, open_mirror
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, PortMapping, PreferredAddress, Presence


def laws(examples: int) -> settings:
    return settings(derandomize=True, deadline=None, max_examples=examples, database=None, print_blob=False)


# What can happen to a server


class PutRow(Struct, frozen=True):
    guid: str
    index: int
    presence: Presence
    state: ActualLRPState
    port: int
    cell_id: str
    routable: bool | None
    preferred: PreferredAddress
    trouble: str


class TouchRow(Struct, frozen=True):
    """A write that changes nothing but when it was, which a router need not know."""

    guid: str
    index: int
    presence: Presence


class DropRow(Struct, frozen=True):
    guid: str
    index: int
    presence: Presence


class Desire(Struct, frozen=True):
    guid: str
    instances: int
    names: tuple[str, ...]
    domain: str


class Undesire(Struct, frozen=True):
    guid: str
    notified: bool
    """Whether an event says so, or only the next list."""


class List(Struct, frozen=True):
    domains: frozenset[str]
    cells: frozenset[str]


class Read(Struct, frozen=True):
    guid: str


guids = st.sampled_from(["p", "q", "r"])
few = st.integers(0, 2)
names = st.sampled_from(["a", "b", "c"])
slots = {"guid": st.sampled_from(["p", "p", "q", "r"]), "index": few, "presence": st.sampled_from(Presence)}
operations = st.one_of(
    st.builds(
        PutRow,
        **slots,
        state=st.sampled_from([ActualLRPState.RUNNING, ActualLRPState.RUNNING, *ActualLRPState]),
        port=few,
        cell_id=st.sampled_from(["one", "two"]),
        routable=st.sampled_from([True, None, False]),
        preferred=st.sampled_from(PreferredAddress),
        trouble=st.sampled_from(["", "", "trouble"]),
    ),
    st.builds(TouchRow, **slots),
    st.builds(DropRow, **slots),
    st.builds(
        Desire,
        guid=guids,
        instances=few,
        names=st.lists(names, max_size=2).map(tuple),
        domain=st.sampled_from(["apps", "tasks"]),
    ),
    st.builds(Undesire, guid=guids, notified=st.booleans()),
    st.builds(
        List,
        domains=st.frozensets(st.sampled_from(["apps", "tasks"])),
        cells=st.frozensets(st.sampled_from(["one", "two"])),
    ),
    st.builds(Read, guid=guids),
)


class World:
    """The rows and desired LRPs of a server, and the event that each operation makes it send."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int, Presence], ActualLRP] = {}
        self.lrps: dict[str, DesiredLRP] = {"p": desired("p", 3, http=["a"], internal=["a"], epoch="first")}
        self._made = 0

    def apply(self, operation: Any) -> Event | None:
        match operation:
            case PutRow(guid=guid, index=index, presence=presence):
                slot = (guid, index, presence)
                self.rows[slot] = self._row(operation, self.rows.get(slot))
                return ActualLRPInstanceCreated(self.rows[slot])
            case TouchRow(guid=guid, index=index, presence=presence):
                before = self.rows.get((guid, index, presence))
                return None if before is None else self._touch(before)
            case DropRow(guid=guid, index=index, presence=presence):
                row = self.rows.pop((guid, index, presence), None)
                return None if row is None else ActualLRPInstanceRemoved(row)
            case Desire(guid=guid):
                was = self.lrps.get(guid)
                self.lrps[guid] = now = self._desired(operation, was)
                return DesiredLRPCreated(now) if was is None else DesiredLRPChanged(was, now)
            case Undesire(guid=guid, notified=notified):
                lrp = self.lrps.pop(guid, None)
                return None if lrp is None or not notified else DesiredLRPRemoved(lrp)
        return None

    def _touch(self, row: ActualLRP) -> Event:
        self._made += 1
        touched = replace(row, tag_index=row.tag_index + 1, since=self._made)
        self.rows[row.process_guid, row.index, row.presence] = touched
        return ActualLRPInstanceCreated(touched)

    def _row(self, one: PutRow, before: ActualLRP | None) -> ActualLRP:
        self._made += 1
        return running(
            one.guid,
            one.index,
            presence=one.presence,
            state=one.state,
            # Instances keep their guid while they move from one presence to another.
            cell_id=one.cell_id,
            ports=(PortMapping(8080, one.port, 61443, 2 * one.port),),
            routable=one.routable,
            preferred_address=one.preferred,
            placement_error=one.trouble,
            crash_count=len(one.trouble),
            since=self._made,
            epoch=f"row-{self._made}" if before is None else before.epoch,
            tag_index=0 if before is None else before.tag_index + 1,
        )

    def _desired(self, one: Desire, before: DesiredLRP | None) -> DesiredLRP:
        self._made += 1
        return desired(
            one.guid,
            one.instances,
            http=one.names,
            tcp=[{"router_group_guid": "rg", "external_port": 1, "container_port": 8080} for _ in one.names],
            internal=one.names,
            memory_mb=10 * one.instances,
            domain=one.domain,
            epoch=f"desired-{self._made}" if before is None else before.epoch,
            tag_index=0 if before is None else before.tag_index + 1,
        )


class ByFreshness(View[tuple[str, bool], int, int]):
    """How many processes of each domain, by whether it is fresh."""

    follows_domains = True

    def derive(self, process: Process) -> Mapping[tuple[str, bool], int]:
        domain = process.routed.domain if process.routed is not None else process.rows[0].domain
        return {(domain, process.domain_fresh): 1}

    def combine(self, key: tuple[str, bool], contributions: Mapping[str, int]) -> int:  # noqa: ARG002
        return sum(contributions.values())


# Views


class Run:
    """A world, a session that is told of it, and views beside that."""

    def __init__(self) -> None:
        self.world = World()
        self.beside = Beside(every_view())
        self.beside.relist([], self.world.lrps.values())

    def apply(self, operation: Any) -> dict[str, list[Delta[Any, Any]]]:
        world = self.world
        event = world.apply(operation)
        match operation:
            case List(domains=domains, cells=cells):
                there = [cell(cell_id) for cell_id in sorted(cells)]
                return self.beside.relist(world.rows.values(), world.lrps.values(), domains=domains, cells=there)
            case Read(guid=guid):
                scope = Scope(frozenset({guid}), frozenset({guid}))
                return self.beside.relist(world.rows.values(), world.lrps.values(), scope=scope)
        return {} if event is None else self.beside.tell(event)


@laws(150)
@given(st.lists(operations, min_size=12, max_size=40))
def test_after_each_commit_every_view_is_what_follows_from_the_state(history: list[Any]) -> None:
    run = Run()
    for operation in history:
        run.apply(operation)
        run.beside.check()


@laws(100)
@given(st.lists(operations, min_size=12, max_size=40))
def test_folding_what_a_view_publishes_gives_what_it_has_published(history: list[Any]) -> None:
    run = Run()
    folded = {name: published(derivation) for name, derivation in run.beside.views.items()}
    for operation in history:
        for name, deltas in run.apply(operation).items():
            for delta in deltas:
                assert folded[name].get(delta.key) == delta.before
                put(folded[name], delta.key, delta.after)
        for name, derivation in run.beside.views.items():
            assert folded[name] == published(derivation)
            assert folded[name].keys() == derivation.values.keys()
            for key, value in derivation.values.items():
                assert derivation.view.same(folded[name][key], value)


def published(derivation: Derivation[Any, Any, Any]) -> dict[Any, Any]:
    return {key: derivation.published(key) for key in derivation.values}


def put(table: dict[Any, Any], key: Any, value: Any) -> None:
    if value is None:
        table.pop(key)
    else:
        table[key] = value


# Subscribers


class Join(Struct, frozen=True):
    """Someone subscribes, late or early."""

    to: str
    filtered: bool
    keys: frozenset[Hashable] | None


class Take(Struct, frozen=True):
    """Someone has time."""

    who: int


class Cancel(Struct, frozen=True):
    who: int


some_keys = st.frozensets(st.sampled_from(["a", "b", "0.a", "p", "one", ("rg", 1), ("10.0.0.1", 2)]))
acts = st.one_of(
    st.builds(
        Join, to=st.sampled_from(sorted(every_view())), filtered=st.booleans(), keys=st.none() | st.none() | some_keys
    ),
    st.builds(Take, who=st.integers(0, 5)),
    st.builds(Cancel, who=st.integers(0, 5)),
)


def arbitrary(value: Any) -> bool:
    """A predicate that depends on everything in a value, also on what its view says is the same."""
    return crc32(repr(value).encode()) % 2 == 0


class Reader:
    """A subscriber that folds what it is told whenever it has time."""

    def __init__(self, join: Join, derivation: Derivation[Any, Any, Any], hub: Hub[Any, Any]) -> None:
        self.join, self.derivation, self.hub = join, derivation, hub
        self.mailbox: Mailbox[Any, Any] = Mailbox(lambda: None, arbitrary if join.filtered else None)
        self.folded: dict[Any, Any] = {}
        self.cancelled = False
        for key, value in published(derivation).items():
            if join.keys is None or key in join.keys:
                self.mailbox.offer(Delta(key, None, value), 0, Cause.REPLAY, 0)
        hub.add(self.mailbox, join.keys)

    def take(self) -> None:
        if self.cancelled:
            return
        for change in self.mailbox.take():
            assert change.before != change.after, "nothing is told that is no change"
            assert self.folded.get(change.key) == change.before, "a change begins at what was told last"
            put(self.folded, change.key, change.after)

    def cancel(self) -> None:
        self.hub.remove(self.mailbox, self.join.keys)
        self.cancelled = True

    def check(self) -> None:
        there = self.wanted()
        if self.cancelled:
            return
        waiting = {change.key for change in Mailbox.take(copy_of(self.mailbox))}
        differing = {key for key in there.keys() | self.folded.keys() if there.get(key) != self.folded.get(key)}
        assert waiting == differing, "what waits is what differs from what was told, and no more"

    def wanted(self) -> dict[Any, Any]:
        return {
            key: value
            for key, value in published(self.derivation).items()
            if (self.join.keys is None or key in self.join.keys) and (not self.join.filtered or arbitrary(value))
        }


def copy_of(mailbox: Mailbox[Any, Any]) -> Mailbox[Any, Any]:
    copied: Mailbox[Any, Any] = Mailbox(lambda: None)
    copied._pending = mailbox._pending.copy()
    return copied


@laws(150)
@given(st.lists(operations | acts, min_size=20, max_size=60))
def test_what_any_subscriber_is_told_from_its_replay_on_gives_the_view(history: list[Any]) -> None:
    run = Run()
    hubs: dict[str, Hub[Any, Any]] = {name: Hub(lambda delta: delta.key) for name in run.beside.views}
    readers: list[Reader] = []
    for revision, act in enumerate(history):
        match act:
            case Join(to=to):
                readers.append(Reader(act, run.beside.views[to], hubs[to]))
            case Take(who=who):
                for reader in readers[who : who + 1]:
                    reader.take()
            case Cancel(who=who):
                for reader in readers[who : who + 1]:
                    reader.cancel()
            case _:
                for name, deltas in run.apply(act).items():
                    hubs[name].publish(deltas, revision, Cause.EVENT, 0)
        for reader in readers:
            reader.check()

    for reader in readers:
        reader.take()
        assert reader.cancelled or reader.folded == reader.wanted()


# The same on a mirror


class Follow(Struct, frozen=True):
    """A subscriber of a mirror's view: how long it takes over each change, and after how many it has enough."""

    to: str
    pause: float
    enough: int
    late: bool


follows = st.builds(
    Follow,
    to=st.sampled_from([*sorted(every_view()), "ByFreshness"]),
    pause=st.sampled_from([0.0, 0.0, 0.3, 7.0, 60.0]),
    enough=st.sampled_from([1, 3, 10_000, 10_000]),
    late=st.booleans(),
)


class Follower:
    def __init__(self, plan: Follow, view: MirrorView[Any, Any]) -> None:
        self.plan, self.view = plan, view
        self.folded: dict[Any, Any] = {}
        self.notified = 0
        self.busy = False
        self.subscription = view.subscribe(self)

    async def __call__(self, change: Change[Any, Any]) -> None:
        assert not self.busy, "it is never called twice at once"
        assert self.folded.get(change.key) == change.before
        self.busy = True
        self.notified += 1
        put(self.folded, change.key, change.after)
        if self.notified == self.plan.enough:
            self.subscription.cancel()
        if self.plan.pause:
            await trio.sleep(self.plan.pause)
        self.busy = False


@laws(60)
@given(st.lists(operations, min_size=10, max_size=30), st.lists(follows, min_size=1, max_size=4))
def test_on_a_mirror_views_are_consistent_and_any_subscriber_ends_on_them(
    history: list[Any], plans: list[Follow]
) -> None:
    run_mocked(lambda: follow(history, plans))


async def follow(history: list[Any], plans: list[Follow]) -> None:
    world = World()
    bbs = MemoryBBS(*world.lrps.values())
    async with open_mirror(bbs, tuning=Tuning(resync_interval=1000)) as mirror:
        await mirror.wait_synced(10)
        views = {name: await mirror.view(view) for name, view in {**every_view(), "ByFreshness": ByFreshness()}.items()}
        followers = [Follower(plan, views[plan.to]) for plan in plans if not plan.late]
        for operation in history:
            await do(operation, world, bbs, mirror)
            consistent(mirror, views.values())
            await trio.sleep(0.1)
            if len(followers) < len(plans):
                followers = [*followers, *(Follower(plan, views[plan.to]) for plan in plans if plan.late)]
        await trio.sleep(10_000)
        consistent(mirror, views.values())
        for follower in followers:
            if follower.subscription.cancelled:
                assert follower.notified == follower.plan.enough
            else:
                assert follower.subscription.lag.pending == 0
                assert follower.folded == published(follower.view.derivation)


async def do(operation: Any, world: World, bbs: MemoryBBS, mirror: Mirror) -> None:
    event = world.apply(operation)
    bbs.rows = {row.epoch: row for row in world.rows.values()}
    bbs.lrps = world.lrps
    if event is not None:
        await bbs.send([event])
    if isinstance(operation, List):
        bbs.fresh = tuple(sorted(operation.domains))
        bbs.present = tuple(cell(cell_id) for cell_id in sorted(operation.cells))
        mirror.resync()
        await settled()


def consistent(mirror: Mirror, views: Any) -> None:
    """Between two awaits every view is what follows from the state of the mirror."""
    session = mirror._session
    for view in views:
        assert view.revision == mirror.revision
        view.derivation._check(
            map(session.knowledge.process, session.knowledge.process_guids()), session.knowledge.cells
        )
