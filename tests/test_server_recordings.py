"""What a server tells a reader that asked for one cell, compared with what a real one told."""

from pathlib import Path

import pytest

from lrpmirror.events import Event
from lrpmirror.server.streams import concerns_cell
from lrpmirror.wire import decode
from lrpmirror.wire.sse import EventStreamDecoder

RECORDINGS = Path(__file__).parents[2] / "shared" / "recordings"


def recorded(path: Path) -> list[Event]:
    if not path.exists():
        pytest.skip(f"there is no recording {path}: this can only be compared beside the recordings of a real BBS")
    return [decode.event(frame.event, frame.data) for frame in EventStreamDecoder().feed(path.read_bytes())]


@pytest.mark.parametrize("name", ["01-lifecycle", "02-crash", "03-evacuation", "06-mixed", "07-routes"])
def test_a_reader_of_one_cell_is_told_what_a_real_bbs_told_it(name: str) -> None:
    everything = recorded(RECORDINGS / name / "events.instances.sse")
    of_the_cell = recorded(RECORDINGS / name / "events.instances.cell-a.sse")

    notified = [event for event in everything if concerns_cell(event, "cell-a")]

    # In no promised order: what races on the server reaches each reader as it does.
    assert sorted(map(repr, notified)) == sorted(map(repr, of_the_cell))
    assert len(notified) < len(everything)
