"""Applying decoded events, with all indexes and the list of changes, beside putting the row into one dict."""

from random import Random

from benchmarks.data import changes, rows
from benchmarks.harness import Report, compare, digest
from lrpmirror.core.session import Session, Tuning
from lrpmirror.events import ActualLRPInstanceChanged
from lrpmirror.model import ActualLRP

SIZE, SMOKE = 250_000, 2_000


def run(size: int, rounds: int) -> Report:
    """Apply events to a mirror of `size` rows."""
    present = list(rows(size))
    number = min(size, 50_000)
    # Each round goes on where the one before ended, so that every event is news.
    events = [event for event in changes(present, number * rounds) if isinstance(event, ActualLRPInstanceChanged)]
    session = loaded(present)
    plain = {row.epoch: row for row in present}
    batches = iter([events[at : at + number] for at in range(0, len(events), number)])
    plain_batches = iter([events[at : at + number] for at in range(0, len(events), number)])

    def baseline() -> None:
        for event in next(plain_batches):
            plain[event.after.epoch] = event.after

    def ours() -> None:
        batch = next(batches)
        for at in range(0, len(batch), 100):
            session.events(batch[at : at + 100], 0.0)

    report = compare(
        "apply an event", size, {"into one dict": baseline, "to the mirror": ours}, operations=number, rounds=rounds
    )
    seen = sorted((row.epoch, row.tag_index) for row in present[:100] if session.store.get(row.epoch) is not None)
    return Report(report.title, report.size, report.figures, digest(session.revision, seen))


def loaded(present: list[ActualLRP]) -> Session:
    """Return a session that has these rows."""
    session = Session(Tuning(), Random(0))
    session.stream_opened(0.0)
    shadow = session.begin_list(0.0)
    shadow.list_rows(present)
    for _ in shadow.settle():
        pass
    session.end_list(shadow, 0.0)
    return session
