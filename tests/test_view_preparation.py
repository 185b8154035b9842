"""Views are brought to a list aside, in slices, whatever comes in between; and made of a living mirror likewise."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from view_world_support import ByFreshness, List, Read, World, laws, operations, published
from views_support import ViewedSession, cell, desired, every_view, process, running

from lrpmirror.core import preparation, upcoming
from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.derived.dirty import ALL, Dirty, dirty_rows, merge
from lrpmirror.core.lists.scope import EVERYTHING, Scope
from lrpmirror.core.lists.snapshot import FEW
from lrpmirror.core.preparation import Difference, Preparation, Rounds, Touched, ViewBuild
from lrpmirror.core.rows.changes import Commit, Delta
from lrpmirror.core.session import Session, Tuning
from lrpmirror.events import ActualLRPInstanceChanged, ActualLRPInstanceCreated
from lrpmirror.model import ActualLRP, DesiredLRP, Presence


@pytest.fixture(autouse=True, scope="module")
def _small_slices() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(upcoming, "PART", 1)
        patched.setattr(preparation, "KEYS", 1)
        yield


class Told:
    """A subscriber of each view, which has the state that its changes fold to."""

    def __init__(self, viewed: ViewedSession) -> None:
        self.known = {name: published(one) for name, one in viewed.views.items()}

    def take(self, notified: dict[str, list[Delta[Any, Any]]]) -> None:
        for name, deltas in notified.items():
            for delta in deltas:
                assert self.known[name].get(delta.key) == delta.before, (name, delta)
                assert delta.before != delta.after
                if delta.after is None:
                    del self.known[name][delta.key]
                else:
                    self.known[name][delta.key] = delta.after

    def check(self, viewed: ViewedSession) -> None:
        for name, one in viewed.views.items():
            assert self.known[name] == published(one), name


class Prepared:
    """A simulated server, a session that follows it, views on that, and lists for which these are prepared."""

    def __init__(self) -> None:
        self.world = World()
        self.viewed = ViewedSession({**every_view(), "ByFreshness": ByFreshness()})
        self.notified = Told(self.viewed)
        self.preparation: Preparation | None = None

    @property
    def session(self) -> Session:
        return self.viewed.session

    def apply(self, operation: Any, meanwhile: Callable[[], None] = lambda: None) -> None:
        event = self.world.apply(operation)
        match operation:
            case List(domains=domains, cells=cells):
                self.relist(EVERYTHING, domains, sorted(cells), meanwhile)
            case Read(guid=guid):
                self.relist(Scope(frozenset({guid}), frozenset({guid})), None, None, meanwhile)
            case _ if event is not None:
                self.publish(self.session.events([event], 0))

    def relist(
        self, scope: Scope, domains: frozenset[str] | None, cells: list[str] | None, meanwhile: Callable[[], None]
    ) -> None:
        session, world = self.session, self.world
        snapshot = session.begin_list(0, scope)
        snapshot.list_rows([row for row in world.rows.values() if scope.has_row_of(row.process_guid)])
        snapshot.list_desired([lrp for lrp in world.lrps.values() if scope.has_desired(lrp.process_guid)])
        snapshot.domains = domains
        snapshot.cells = None if cells is None else tuple(map(cell, cells))
        for _ in snapshot.settle():
            meanwhile()
        self.preparation = prepared = Preparation(session, snapshot, self.viewed.views.values())
        for _ in prepared.steps():
            meanwhile()
            self.check()
        commit = session.end_list(snapshot, 0)
        self.preparation = None
        if commit is None:
            assert list(prepared.discard()) is not None
            return
        names = {id(one): name for name, one in self.viewed.views.items()}
        finished = prepared.finish(commit, {*self.viewed.views.values()})
        changed = {names[id(one)]: difference for one, difference in finished}
        self.notified.take({name: told_of(difference) for name, difference in changed.items()})

    def publish(self, commits: Sequence[Commit]) -> None:
        if self.preparation is not None:
            self.preparation.note(commits)
        self.notified.take(self.viewed.take(commits))

    def check(self) -> None:
        self.viewed.check()
        self.notified.check(self.viewed)


def told_of(difference: Difference[Any, Any]) -> list[Delta[Any, Any]]:
    found = list(difference)
    assert len(found) == len(difference)
    return [delta for delta in found if delta is not None]


@laws(100)
@given(st.lists(operations, min_size=8, max_size=30), st.randoms(use_true_random=False))
def test_whatever_comes_while_a_list_is_brought_to_views_they_are_what_follows_from_the_state(
    history: list[Any], rng: Random
) -> None:
    run, left = Prepared(), list(history)

    def meanwhile() -> None:
        while left and rng.random() < 0.4:
            operation = left.pop(0)
            if not isinstance(operation, (List, Read)):
                run.apply(operation)

    run.relist(EVERYTHING, frozenset({"apps"}), ["one"], meanwhile)
    run.check()
    while left:
        run.apply(left.pop(0), meanwhile)
        run.check()


# By example


def begun(*lrps: DesiredLRP, rows: list[ActualLRP]) -> Prepared:
    run = Prepared()
    run.world.rows = {(row.process_guid, row.index, row.presence): row for row in rows}
    run.world.lrps = {lrp.process_guid: lrp for lrp in lrps}
    run.relist(EVERYTHING, frozenset({"apps"}), [], lambda: None)
    return run


def test_a_list_that_changes_much_is_brought_to_views_by_its_own_indexes() -> None:
    rows = [running(f"p{number}") for number in range(FEW + 10)]
    run = begun(rows=[])
    run.world.rows = {(row.process_guid, row.index, row.presence): row for row in rows}
    run.world.lrps = {row.process_guid: desired(row.process_guid) for row in rows[:300]}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(upcoming, "PART", 500)
        patched.setattr(preparation, "KEYS", 1000)
        run.relist(EVERYTHING, frozenset({"apps"}), [], lambda: None)
    run.check()
    assert len(run.viewed["Processes"]) == len(rows)


@pytest.mark.parametrize("others", [0, FEW + 1])
@pytest.mark.parametrize("epochs", [("a", "b"), ("b", "a")])
def test_two_rows_that_claim_one_slot_are_derived_alike_in_whichever_order_they_came(
    epochs: tuple[str, str], others: int
) -> None:
    rivals = [
        running(epoch=epoch, instance_guid=epoch, cell_id=f"cell-{epoch}", address=f"10.0.0.{ord(epoch)}")
        for epoch in epochs
    ]
    run = begun(desired("p", http=["app.example.com"]), rows=[])
    for row in rivals:
        run.publish(run.session.events([ActualLRPInstanceCreated(row)], 0))
        run.check()
    as_came = {name: dict(one.values) for name, one in run.viewed.views.items()}
    assert [one.instance_guid for one in as_came["HTTPRoutes"]["app.example.com"]] == ["a", "b"]

    # A list that changes much is indexed anew, in its own order.
    run.world.rows = {("p", at, Presence.ORDINARY): row for at, row in enumerate(reversed(rivals))}
    run.world.rows |= {(f"q{at}", 0, Presence.ORDINARY): running(f"q{at}", epoch=f"q{at}") for at in range(others)}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(upcoming, "PART", 500)
        patched.setattr(preparation, "KEYS", 1000)
        run.relist(EVERYTHING, frozenset({"apps"}), [], lambda: None)
    run.check()
    assert run.viewed["HTTPRoutes"]["app.example.com"] == as_came["HTTPRoutes"]["app.example.com"]


def test_a_list_is_worth_it_that_is_the_first_or_changes_more_than_a_few_or_the_domains() -> None:
    session = Session(Tuning(), Random(0))
    session.stream_opened(0)
    assert Preparation.is_worth_it(session, session.begin_list(0))

    run = begun(desired(), rows=[running()])
    session = run.session

    def worth_it(rows: list[ActualLRP], domains: frozenset[str] | None = None) -> bool:
        snapshot = session.begin_list(0)
        snapshot.list_rows(rows)
        snapshot.list_desired([desired()])
        snapshot.domains = domains
        assert list(snapshot.settle()) is not None
        return Preparation.is_worth_it(session, snapshot)

    assert not worth_it([running()])
    assert not worth_it([running(index=index) for index in range(preparation.FEW)])
    assert worth_it([running(index=index) for index in range(preparation.FEW + 2)])
    assert worth_it([running()], frozenset())


def test_what_is_discarded_leaves_everything_as_it_was_and_goes_bit_by_bit() -> None:
    run = begun(desired(http=["a"]), rows=[running()])
    snapshot = run.session.begin_list(0)
    snapshot.list_rows([])
    assert list(snapshot.settle()) is not None
    prepared = Preparation(run.session, snapshot, run.viewed.views.values())
    for _ in prepared.steps():
        run.check()

    assert len(list(prepared.discard())) > 100

    run.check()
    assert all(one.log is None for one in run.viewed.views.values())


def test_a_difference_is_freed_in_slices_and_the_view_stays() -> None:
    run = begun(desired(http=["a"]), rows=[running()])
    snapshot = run.session.begin_list(0)
    snapshot.list_rows([running(), running("q")])
    snapshot.list_desired([desired(http=["a"])])
    assert list(snapshot.settle()) is not None
    views = run.viewed.views
    prepared = Preparation(run.session, snapshot, views.values())
    assert list(prepared.steps()) is not None
    for _, difference in prepared.finish(run.session.end_list(snapshot, 0), {*views.values()}):
        assert len(list(difference.free_in_slices())) > 100
        assert len(difference) == 0
    run.viewed.check()
    assert len(views["Processes"].values) == 2


class Incomparable:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")


def test_values_that_cannot_be_compared_are_published() -> None:
    before: Derivation[Any, Any, Any] = Derivation(every_view()["HTTPRoutes"])
    after = before.fork()
    one, other = Incomparable(), Incomparable()
    before.values["a"], after.values["a"] = one, other
    after.suppress_unchanged("a", before.published("a"))

    touched: Touched[str] = Touched()
    touched.add("a", 1, there=True)
    (delta,) = Difference(touched, before, after.notified())

    assert delta is not None
    assert (delta.before, delta.after) == (one, other)


# A view that is made of a living mirror


@laws(60)
@given(st.lists(operations, min_size=8, max_size=30), st.randoms(use_true_random=False))
def test_whatever_happens_while_a_view_is_made_it_is_what_follows_from_the_state(
    history: list[Any], rng: Random
) -> None:
    run = Prepared()
    run.relist(EVERYTHING, frozenset({"apps"}), ["one"], lambda: None)
    events = [operation for operation in history if not isinstance(operation, (List, Read))]
    for operation in events[::2]:
        run.apply(operation)
    views = {name: Derivation(view) for name, view in every_view().items()}
    for derivation in views.values():
        beginning = ViewBuild(run.session, derivation)
        for _ in beginning.steps():
            while events and rng.random() < 0.3:
                event = run.world.apply(events.pop())
                if event is not None:
                    commits = run.session.events([event], 0)
                    beginning.note(commits)
                    run.publish(commits)
        derivation._check(
            map(run.session.knowledge.process, run.session.knowledge.process_guids()), run.session.knowledge.cells
        )


# A stream that never pauses


class Restless:
    """Events that come at every turn: each row is written once more, and an instance moves to a record of its own."""

    def __init__(self, run: Prepared) -> None:
        self._run = run
        self.turns = 0
        self.beginning: ViewBuild | None = None

    def turn(self) -> None:
        self.turns += 1
        assert self.turns < 500, "it goes on for ever"
        for guid in self._run.session.knowledge.process_guids():
            (row,) = self._run.session.knowledge.store.process(guid)
            later = replace(row, tag_index=row.tag_index + 1, routable=not row.routable, since=row.since + 1)
            moved = replace(row, epoch=f"{guid}-{self.turns}", tag_index=0)
            commits = self._run.session.events([ActualLRPInstanceChanged(row, moved if self.turns % 3 else later)], 0)
            if self.beginning is not None:
                self.beginning.note(commits)
            self._run.publish(commits)


def restless() -> tuple[Prepared, Restless]:
    rows = [running(f"p{number}", epoch=f"e{number}") for number in range(12)]
    run = begun(*(desired(row.process_guid) for row in rows), rows=rows)
    return run, Restless(run)


def test_a_list_is_brought_to_views_although_events_never_pause() -> None:
    run, events = restless()
    run.relist(Scope(frozenset({"p1", "p2"}), frozenset({"p1", "p2"})), None, None, events.turn)
    run.check()
    run.relist(EVERYTHING, frozenset({"apps"}), ["one"], events.turn)
    run.check()
    assert events.turns > 20


def test_a_view_is_made_although_events_never_pause() -> None:
    run, events = restless()
    derivation = Derivation(every_view()["HTTPRoutes"])
    events.beginning = ViewBuild(run.session, derivation)
    for _ in events.beginning.steps():
        events.turn()
    derivation._check(
        map(run.session.knowledge.process, run.session.knowledge.process_guids()), run.session.knowledge.cells
    )
    assert events.turns > 10


# What no event tells


def silently(run: Prepared, *rows: ActualLRP, lrps: tuple[DesiredLRP, ...] = ()) -> dict[str, list[Any]]:
    """Have the next list bring these rows and desired LRPs; return which keys of which view are published."""
    run.world.rows = {(row.process_guid, row.index, row.presence): row for row in rows}
    run.world.lrps = {lrp.process_guid: lrp for lrp in lrps}
    before = {name: dict(known) for name, known in run.notified.known.items()}
    run.relist(EVERYTHING, frozenset({"apps"}), None, run.check)
    run.check()
    return {
        name: [key for key in {**known, **before[name]} if known.get(key) != before[name].get(key)]
        for name, known in run.notified.known.items()
    }


def test_what_a_list_brings_of_itself_is_brought_to_the_views() -> None:
    one, other = desired("p", 4, http=["a"]), desired("q", 2, http=["a", "b"])
    run = begun(one, rows=[running("p", index) for index in range(4)])

    notified = silently(
        run, running("p", 0), running("p", 2), running("q"), running("q", 1, cell_id="two"), running("r"),
        lrps=(desired("p", 2, http=["c"], tag_index=1), other),
    )  # fmt: skip

    assert set(notified["HTTPRoutes"]) == {"a", "b", "c"}
    assert set(notified["Cells"]) == {"cell-1", "two"}
    silently(run)
    assert run.viewed["Processes"] == {}


def test_what_is_the_same_to_subscribers_is_not_published_and_the_value_has_it() -> None:
    lrp = desired("p", 4, http=["a"])
    run = begun(lrp, rows=[running("p", index) for index in range(4)])

    notified = silently(run, *(running("p", index, since=7, tag_index=1) for index in range(4)), lrps=(lrp,))

    assert notified["HTTPRoutes"] == []
    assert [endpoint.since for endpoint in run.viewed["HTTPRoutes"]["a"]] == [7] * 4
    assert [endpoint.since for endpoint in run.viewed.views["HTTPRoutes"].published("a") or ()] == [0] * 4


def test_what_a_list_completes_is_derived_again_by_views_that_look_at_secrets() -> None:
    run = begun(desired(), rows=[])
    snapshot = run.session.begin_list(0)
    snapshot.completed["p"] = desired()
    snapshot.list_desired([desired()])
    assert list(snapshot.settle()) is not None
    prepared = Preparation(run.session, snapshot, run.viewed.views.values())
    assert list(prepared.steps()) is not None
    run.session.end_list(snapshot, 0)

    assert len(list(prepared.finish(None, {*run.viewed.views.values()}))) == len(run.viewed.views)

    run.check()


def test_what_is_dirty_altogether_stays_so() -> None:
    found = {"p": ALL, "q": Dirty(terms=False, indexes={1})}
    merge(found, {"p": Dirty(terms=False, indexes={1}), "q": Dirty(terms=True, indexes={2})})
    assert found == {"p": ALL, "q": Dirty(terms=True, indexes={1, 2})}
    merge(found, {"q": ALL})
    assert found["q"] == ALL


def test_what_is_known_of_single_rows_is_not_merged_since_it_is_of_another_state() -> None:
    row = running()
    changed = dirty_rows([Delta(row.epoch, row, replace(row, since=9))])
    assert changed["p"].replaced
    found: dict[str, Dirty] = {}
    merge(found, changed)
    assert found == {"p": Dirty(terms=False, indexes={0})}
    merge(found, changed)
    assert found == {"p": Dirty(terms=False, indexes={0})}


def test_a_retained_desired_lrp_is_released_by_the_list_in_which_its_domain_is_fresh() -> None:
    run = begun(desired(http=["a"]), rows=[running()])
    run.world.lrps = {}
    run.relist(EVERYTHING, frozenset(), None, run.check)
    run.check()
    assert set(run.viewed["HTTPRoutes"]) == {"a"}

    run.relist(EVERYTHING, frozenset({"apps"}), None, run.check)
    run.check()
    assert run.viewed["HTTPRoutes"] == {}


def test_what_subscribers_got_meanwhile_is_the_before_of_their_next_change() -> None:
    derivation: Derivation[Any, Any, Any] = Derivation(every_view()["HTTPRoutes"])
    for since in (0, 5):
        derivation.update([process(desired(http=["a"]), running(since=since))])
    fork = derivation.fork()
    notified = tuple(replace(endpoint, since=3) for endpoint in fork.values["a"])

    fork.suppress_unchanged("a", notified)

    assert fork.published("a") is notified


@pytest.mark.parametrize(("more", "rounds"), [([900, 800, 790, 1, 0], 4), ([900, 800, 800], 2), ([0], 0)])
def test_rounds_are_made_for_as_long_as_less_is_left_each_time_and_it_is_much(more: list[int], rounds: int) -> None:
    decided = Rounds()
    assert [decided.go_on(upcoming.PART + number) for number in more] == [True] * rounds + [False]
