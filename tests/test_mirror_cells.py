"""The cells are kept by another service than the BBS: whatever it does holds up nothing else."""

from typing import Any

import pytest
import trio
from mirror_support import EVERY_LIST, FOREVER, GONE, Answer, FakeBBS, mirroring, settled, simulated, small

from lrpmirror import LRPMirrorError
from lrpmirror.errors import (
    MalformedRecord,
    RequestRefused,
    ServiceUnavailable,
    TimedOut,
    TruncatedReply,
    UnexpectedReply,
    UnknownPath,
)

BROKEN: list[Any] = [
    Answer(error=RequestRefused("UnknownError", "the registry is down")),
    Answer(error=UnexpectedReply("500")),
    Answer(error=ServiceUnavailable("503")),
    Answer(error=TruncatedReply("closed")),
    Answer(error=MalformedRecord("no record")),
    Answer(error=GONE),
    FOREVER,
]


def error_of(answer: Answer) -> type[LRPMirrorError]:
    return TimedOut if answer.error is None else type(answer.error)


@pytest.mark.parametrize("answer", BROKEN, ids=lambda answer: type(answer.error).__name__)
@simulated
async def test_the_first_state_is_there_without_the_cells(answer: Answer) -> None:
    bbs = FakeBBS(small())
    bbs.answer = lambda name: answer if name == "cells" else Answer()
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        await settled()
        assert trio.current_time() <= 3
        assert mirror.status.live
        assert mirror.status.age == trio.current_time(), "the BBS itself has answered at once, and not since"
        assert len(mirror.actual_lrps()) == 1
        assert mirror.cells == ()
        assert isinstance(mirror.status.trouble, error_of(answer))
        bbs.answer = lambda _: Answer()
        mirror.resync()
        await settled()
        assert len(mirror.cells) == 3
        assert mirror.status.trouble is None


@pytest.mark.parametrize("answer", BROKEN, ids=lambda answer: type(answer.error).__name__)
@simulated
async def test_the_cells_known_before_stay(answer: Answer) -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        cells = mirror.cells
        bbs.answer = lambda name: answer if name == "cells" else Answer()
        bbs.cut()
        await trio.sleep(10)
        assert mirror.status.live
        assert mirror.cells == cells
        assert bbs.names() == [*EVERY_LIST, *EVERY_LIST], "and nothing is listed again for it"
        assert mirror.counts.errors[error_of(answer).__name__] >= 1


@simulated
async def test_a_server_that_has_no_list_of_cells_is_no_trouble() -> None:
    bbs = FakeBBS(small())
    bbs.answer = lambda name: Answer(error=UnknownPath("404")) if name == "cells" else Answer()
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        assert mirror.status.trouble is None
