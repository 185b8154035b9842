"""Laws of convergence against a small model of a server, over random histories and random deliveries."""

from collections import deque
from random import Random

from core_server_support import Group, Server, changes_presence
from core_support import Fold, answer_repairs, bare, by_key, drop_reason, law
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.core.lists.scope import EVERYTHING
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.session import Session, Tuning
from lrpmirror.events import Event


class Plan(Struct, frozen=True):
    """What goes wrong in a run, and how often."""

    seed: int
    steps: int
    disorder: float
    """How likely the next event is of any group, not the oldest."""
    doubled: float
    lost: float
    lists: float
    """How likely a step has to do with a list."""
    history: int
    """How many operations there were before the subscription."""


plans = st.builds(
    Plan,
    seed=st.integers(0, 2**32),
    steps=st.integers(5, 100),
    disorder=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    doubled=st.sampled_from([0.0, 0.1, 0.3]),
    lost=st.sampled_from([0.0, 0.05, 0.3]),
    lists=st.sampled_from([0.0, 0.1, 0.4]),
    history=st.sampled_from([0, 5, 30]),
)


class Run:
    """A server, a mirror of it, and the way between the two."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rng = Random(plan.seed)
        self.server = Server(self.rng)
        self.session = Session(Tuning(), Random(0))
        self.fold = Fold()
        self.pending: list[deque[Event]] = []
        self.snapshot: PendingSnapshot | None = None
        self.replied = False
        for _ in range(plan.history):
            self.server.step()
        self.session.stream_opened(0)
        self.list_everything()

    def play(self) -> None:
        for _ in range(self.plan.steps):
            self.one_step()
            self.check()
        self.drain()

    def one_step(self) -> None:
        draw = self.rng.random()
        if draw < self.plan.lists:
            self.step_list()
        elif draw < self.plan.lists + (1 - self.plan.lists) * 0.4:
            self.send(self.server.step())
        else:
            self.deliver()

    def drain(self) -> None:
        """Deliver everything that is on its way, and end the list that is."""
        while self.pending:
            self.deliver()
            self.check()
        while self.snapshot is not None:
            self.step_list()
        self.check()

    # Events

    def send(self, groups: list[Group]) -> None:
        for group in groups:
            events: deque[Event] = deque()
            for event in group:
                # Two changes of presence of one row make no version, so nothing can tell a late one from a new one:
                # they come in order and once. So far apart the server sends them.
                if not changes_presence(event):
                    if self.rng.random() < self.plan.lost:
                        continue
                    if self.rng.random() < self.plan.doubled:
                        self.pending.append(deque([event]))
                events.append(event)
            if events:
                self.pending.append(events)

    def deliver(self) -> None:
        if not self.pending:
            return
        at = self.rng.randrange(len(self.pending)) if self.rng.random() < self.plan.disorder else 0
        if changes_presence(self.pending[at][0]):
            at = next(i for i, group in enumerate(self.pending) if changes_presence(group[0]))
        event = self.pending[at].popleft()
        if not self.pending[at]:
            del self.pending[at]
        self.fold.take(self.session.events([event], 0))

    # Lists: begun, answered by the server as it is at that moment, settled slice by slice, ended

    def step_list(self) -> None:
        if self.snapshot is None:
            self.begin_list(everything=self.rng.random() < 0.5)
        elif not self.replied:
            self.reply()
        else:
            self.end_list()

    def begin_list(self, *, everything: bool) -> None:
        scope = EVERYTHING if everything else self.session.take_repairs()
        if scope is not None:
            self.snapshot, self.replied = self.session.begin_list(0, scope), False

    def reply(self) -> None:
        assert self.snapshot is not None
        scope = self.snapshot.scope
        self.snapshot.list_rows([one for one in self.server.list_rows() if scope.has_row_of(one.process_guid)])
        self.snapshot.list_desired([lrp for lrp in self.server.list_desired() if scope.has_desired(lrp.process_guid)])
        if scope == EVERYTHING:
            self.snapshot.domains = frozenset({"apps"})
        self.replied = True

    def end_list(self) -> None:
        assert self.snapshot is not None
        for _ in self.snapshot.settle():
            if self.rng.random() < 0.3:
                self.deliver()
        self.fold.take([self.session.end_list(self.snapshot, 0)])
        self.snapshot = None

    def list_everything(self) -> None:
        self.begin_list(everything=True)
        self.reply()
        self.end_list()

    def answer_repairs(self) -> None:
        self.fold.take(answer_repairs(self.session, self.server.list_rows(), self.server.list_desired()))

    # Laws

    def check(self) -> None:
        """What holds at every moment."""
        self.session.knowledge.store._check()
        self.fold.agrees_with(self.session)
        for key, one in self.fold.rows.items():
            assert bare(one) in self.server.history[key], "every row that is shown was once the server's"

    def agrees(self) -> None:
        assert self.fold.rows == by_key(self.server.list_rows())
        assert self.fold.lrps == self.server.desired


def without_losses(plan: Plan) -> Plan:
    return replace(plan, lost=0.0)


@law(700)
@given(plans)
def test_after_any_losses_one_list_restores_the_servers_state(plan: Plan) -> None:
    run = Run(plan)
    run.play()

    run.list_everything()
    run.answer_repairs()

    run.check()
    run.agrees()


@law(700)
@given(plans.map(without_losses))
def test_without_losses_the_repairs_alone_restore_the_servers_state(plan: Plan) -> None:
    run = Run(plan)
    run.play()

    run.answer_repairs()

    run.check()
    run.agrees()


@law(1500)
@given(plans.map(without_losses))
def test_what_diffs_carry_is_restored_without_the_reads_for_what_they_do_not_carry(plan: Plan) -> None:
    run = Run(plan)
    run.play()

    drop_reason(run.session, RepairReason.INCOMPLETE)
    run.answer_repairs()

    run.check()
    assert {key: bare(one) for key, one in run.fold.rows.items()} == {
        key: bare(one) for key, one in by_key(run.server.list_rows()).items()
    }
    assert run.fold.lrps == run.server.desired


@law(200)
@given(plans.map(without_losses))
def test_without_losses_and_in_order_only_incomplete_rows_are_read_again(plan: Plan) -> None:
    run = Run(replace(plan, disorder=0.0, doubled=0.0, lists=0.0))
    run.server.exact = True
    run.play()

    for reason in (RepairReason.INCOMPLETE, RepairReason.RIVALS):
        drop_reason(run.session, reason)
    unasked_for = [
        repair_reasons
        for repair_reasons in run.session.repairs._reasons.values()
        if RepairReason.AMBIGUOUS in repair_reasons
    ]

    assert not unasked_for
    assert {key: bare(one) for key, one in run.fold.rows.items()} == {
        key: bare(one) for key, one in by_key(run.server.list_rows()).items()
    }
