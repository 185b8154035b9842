"""The laws of views on a living mirror: consistent between any two awaits, and any subscriber ends on them."""

from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from view_world_support import ByFreshness, List, World, laws, operations, published, put
from views_support import MemoryBBS, cell, every_view, run_mocked, settled

from lrpmirror.core.rows.changes import Change
from lrpmirror.core.session import Tuning
from lrpmirror.mirror import Mirror, MirrorView, open_mirror

RESYNC = 1000.0


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

    @property
    def waits(self) -> bool:
        """Whether there is more for it."""
        return not self.subscription.cancelled and (self.busy or self.subscription.lag.pending > 0)

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
    async with open_mirror(bbs, tuning=Tuning(resync_interval=RESYNC)) as mirror:
        await mirror.wait_synced(10)
        views = {name: await mirror.view(view) for name, view in {**every_view(), "ByFreshness": ByFreshness()}.items()}
        followers = [Follower(plan, views[plan.to]) for plan in plans if not plan.late]
        for operation in history:
            await do(operation, world, bbs, mirror)
            consistent(mirror, views.values())
            await trio.sleep(0.1)
            if len(followers) < len(plans):
                followers = [*followers, *(Follower(plan, views[plan.to]) for plan in plans if plan.late)]
        # In it there is a list at an interval, too.
        await trio.sleep(1.25 * RESYNC)
        with trio.fail_after(10_000):
            while any(follower.waits for follower in followers):  # noqa: ASYNC110 - they tell nobody
                await trio.sleep(10)
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
