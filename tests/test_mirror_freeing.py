"""What a mirror and its views held is freed in slices, once the program has let go of them."""

import gc
import weakref
from typing import Any

import trio
from mirror_support import FakeBBS, mirroring, settled, simulated, small

from lrpmirror.mirror._freeing import free_after
from lrpmirror.views import Processes


@simulated
async def test_a_dropped_view_stays_as_it_is_until_nothing_refers_to_it() -> None:
    async with mirroring(FakeBBS(small())) as mirror:
        await mirror.wait_synced()
        view = await mirror.view(Processes())
        values = view.derivation.values
        view.drop()
        gc.collect()
        await settled()
        assert "p" in view

        del view
        gc.collect()
        assert "p" in values
        await settled()
        assert not values


@simulated
async def test_what_a_closed_mirror_held_is_freed_after_it() -> None:
    async with mirroring(FakeBBS(small())) as mirror:
        await mirror.wait_synced()
        view = await mirror.view(Processes())
    values = view.derivation.values
    gone: list[weakref.ref[Any]] = [weakref.ref(mirror), weakref.ref(view)]
    store = weakref.ref(mirror._session.knowledge.store)
    gc.collect()
    await settled()
    assert mirror.actual_lrps("p")
    assert "p" in view

    del mirror, view
    gc.collect()
    assert [one() for one in gone] == [None, None]
    assert store() is not None
    await settled()
    assert store() is None
    assert not values


def test_where_trio_has_ended_it_is_freed_at_once() -> None:
    kept: list[Any] = []

    async def main() -> None:
        async with mirroring(FakeBBS(small())) as mirror:
            await mirror.wait_synced()
            kept.extend((mirror, await mirror.view(Processes())))

    trio.run(main)
    store = weakref.ref(kept[0]._session.knowledge.store)
    kept.clear()
    gc.collect()
    assert store() is None


@simulated
async def test_other_tasks_get_their_turns_between_two_steps() -> None:
    class Owner:
        pass

    turns: list[str] = []
    owner = Owner()
    free_after(owner, lambda: map(turns.append, ["freed"] * 3))
    await settled()
    assert not turns

    del owner
    for _ in range(8):
        await trio.lowlevel.checkpoint()
        turns.append("another")
    assert turns.count("freed") == 3
    last = len(turns) - 1 - turns[::-1].index("freed")
    assert "another" in turns[turns.index("freed") : last]
