"""The mirror's machine alone, without tasks and sockets: for what the way from bytes to the state costs by itself."""

from collections.abc import Iterable
from random import Random

from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.session import Session, Tuning
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.wire import decode
from lrpmirror.wire.lists import ReplySplitter

__all__ = ["begun", "filled", "finished", "loaded"]


def loaded(rows: Iterable[ActualLRP], desired: Iterable[DesiredLRP] = ()) -> Session:
    """Return a session that was synchronised with these rows and desired LRPs."""
    session, snapshot = begun(desired)
    snapshot.list_rows(rows)
    finished(session, snapshot)
    return session


def begun(desired: Iterable[DesiredLRP] = ()) -> tuple[Session, PendingSnapshot]:
    """Return a new session and its first list, in which only the desired LRPs have been taken."""
    session = Session(Tuning(), Random(0))
    session.stream_opened(0.0)
    snapshot = session.begin_list(0.0)
    snapshot.list_desired(desired)
    return session, snapshot


def filled(snapshot: PendingSnapshot, pieces: Iterable[bytes]) -> None:
    """Bring the bytes of a list of rows into a snapshot, as they come."""
    splitter = ReplySplitter(what="actual_lrps")
    for piece in pieces:
        snapshot.list_rows([decode.actual_lrp(record) for record in splitter.feed(piece)])
    splitter.finish()


def finished(session: Session, snapshot: PendingSnapshot) -> None:
    """Settle a list and commit it."""
    for _ in snapshot.settle():
        pass
    session.end_list(snapshot, 0.0)
