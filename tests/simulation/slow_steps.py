"""Time between the steps in which a view is made, so that events come and faults begin in the midst of it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import Final
from unittest.mock import patch

import trio

from lrpmirror.mirror import _mirror

__all__ = ["slow_steps"]

SLOW: Final = 0.3
"""The chance that a step takes time; others take none on the mock clock."""

MOMENT: Final = 0.3
"""How long it takes then at most, in seconds."""


@contextmanager
def slow_steps(seed: int) -> Iterator[None]:
    """Let some steps of the views that are made take a moment while the block lasts."""
    steps: Counter[tuple[float, str]] = Counter()

    async def checkpoint() -> None:
        # By itself for each step, since the order of tasks at one moment is not for it to depend on.
        step = trio.current_time(), trio.lowlevel.current_task().name
        steps[step] += 1
        rng = Random(f"{seed} {step} {steps[step]}")
        if rng.random() < SLOW:
            await trio.sleep(rng.uniform(0, MOMENT))
        else:
            await trio.lowlevel.checkpoint()

    lowlevel = SimpleNamespace(**{**vars(trio.lowlevel), "checkpoint": checkpoint})
    with patch.object(_mirror, "trio", SimpleNamespace(**{**vars(trio), "lowlevel": lowlevel})):
        yield
