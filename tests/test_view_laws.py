"""Laws of views and their subscribers over random histories: what is kept up to date is what follows from the state."""

from collections.abc import Hashable
from typing import Any
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from view_world_support import List, Read, World, laws, operations, published, put
from views_support import ViewedSession, cell, every_view

from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.derived.subscriptions import Hub, Mailbox
from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.rows.changes import Cause, Delta

# Views


class Run:
    """A simulated server, a session that follows it, and views on that."""

    def __init__(self) -> None:
        self.world = World()
        self.viewed = ViewedSession(every_view())
        self.viewed.relist([], self.world.lrps.values())

    def apply(self, operation: Any) -> dict[str, list[Delta[Any, Any]]]:
        world = self.world
        event = world.apply(operation)
        match operation:
            case List(domains=domains, cells=cells):
                there = [cell(cell_id) for cell_id in sorted(cells)]
                return self.viewed.relist(world.rows.values(), world.lrps.values(), domains=domains, cells=there)
            case Read(guid=guid):
                scope = Scope(frozenset({guid}), frozenset({guid}))
                return self.viewed.relist(world.rows.values(), world.lrps.values(), scope=scope)
        return {} if event is None else self.viewed.apply(event)


@laws(150)
@given(st.lists(operations, min_size=12, max_size=40))
def test_after_each_commit_every_view_is_what_follows_from_the_state(history: list[Any]) -> None:
    run = Run()
    for operation in history:
        run.apply(operation)
        run.viewed.check()


@laws(100)
@given(st.lists(operations, min_size=12, max_size=40))
def test_folding_what_a_view_publishes_gives_what_it_has_published(history: list[Any]) -> None:
    run = Run()
    folded = {name: published(derivation) for name, derivation in run.viewed.views.items()}
    for operation in history:
        for name, deltas in run.apply(operation).items():
            for delta in deltas:
                assert folded[name].get(delta.key) == delta.before
                put(folded[name], delta.key, delta.after)
        for name, derivation in run.viewed.views.items():
            assert folded[name] == published(derivation)
            assert folded[name].keys() == derivation.values.keys()
            for key, value in derivation.values.items():
                assert derivation.view.same(folded[name][key], value)


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
    """A subscriber that folds its changes whenever it has time."""

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
def test_folding_the_changes_of_any_subscriber_from_its_replay_on_gives_the_view(history: list[Any]) -> None:
    run = Run()
    hubs: dict[str, Hub[Any, Any]] = {name: Hub(lambda delta: delta.key) for name in run.viewed.views}
    readers: list[Reader] = []
    for revision, act in enumerate(history):
        match act:
            case Join(to=to):
                readers.append(Reader(act, run.viewed.views[to], hubs[to]))
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
