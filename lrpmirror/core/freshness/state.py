"""What a session knows of its own freshness: its phase, when there was what sign of life, and what is wrong."""

from collections import Counter
from collections.abc import Callable
from math import inf

from lrpmirror.core.freshness.status import TRANSITIONS, Phase, Step
from lrpmirror.errors import ListNotBelieved, LRPMirrorError, UpstreamStale, without_frames
from lrpmirror.events import SourceStatus

__all__ = ["Freshness", "later"]


class Freshness:
    """The part of a session that its status is made of. Times are those of the caller's clock.

    `phase_changes` is called with the phase before and the one after, where one is about to take the other's place.
    """

    def __init__(self, phase_changes: Callable[[Phase, Phase], None]) -> None:
        self._phase_changes = phase_changes
        self.phase = Phase.CONNECTING
        self.synced_at: float | None = None
        """When the last lists of everything were committed."""
        self.alive_at: float | None = None
        """When there was the last proof of life."""
        self.restored_at: float | None = None
        """When the state of an earlier life was the server's, until there is one of this life."""
        self.heard_at: float | None = None
        """When the stream itself was last heard."""
        self.last_error: LRPMirrorError | None = None
        self.errors: Counter[str] = Counter()
        """What ended a stream, a list or a ping, or befell the state file, by the name of its class."""
        self._current_at: float | None = None
        self._trouble: LRPMirrorError | None = None
        self._ping_trouble: LRPMirrorError | None = None
        self._cells_trouble: LRPMirrorError | None = None
        self._source_at: float | None = None
        """When what the stream has told was the BBS's, as the source says; None: it says nothing, so it is the BBS."""
        self._source_trouble = ""
        self._outdated = False
        """Whether it is for the source's trouble alone that this is not LIVE."""

    @property
    def current_at(self) -> float | None:
        """When the state was last known to be the BBS's; None: never."""
        if self.phase is not Phase.LIVE:
            return self._current_at
        return self.alive_at if self._source_at is None else self._source_at

    @property
    def trouble(self) -> LRPMirrorError | None:
        """What is wrong now; None: nothing that is known."""
        return self._trouble or self._ping_trouble or self._cells_trouble

    def source_reported(self, status: SourceStatus, at: float) -> None:
        """Record what the source said of itself on the stream that is followed, behind what it has told so far.

        One that has lost the BBS makes the mirror STALE; it is LIVE again when the source is, without a new list, since
        the source has told on the stream what it had missed.
        """
        if self.phase is Phase.CLOSED:
            return
        self.alive_at, self.heard_at = later(self.alive_at, at), later(self.heard_at, at)
        self._source_at, self._source_trouble = at - status.age, status.trouble
        if status.trouble and (self.phase is Phase.LIVE or self._outdated):
            self._lose_source()
        elif self._outdated and not status.trouble:
            self._step(Step.CURRENT)
            if isinstance(self._trouble, UpstreamStale):
                self._trouble = None

    def pinged(self, now: float) -> None:
        """Record that the server answered a ping, while the stream is open."""
        self.alive_at = now
        self._ping_trouble = None

    def ping_failed(self, error: LRPMirrorError) -> None:
        """Record that the server did not answer a ping as it should."""
        self._ping_trouble = error
        self.noted(error)

    def noted(self, error: LRPMirrorError) -> None:
        """Record an error that is not what is wrong with the state."""
        self.last_error = without_frames(error)
        self.errors[type(error).__name__] += 1

    def abandoned(self, error: LRPMirrorError) -> None:
        """Record that this is a copy which nothing keeps current from now on, and whose age is not to be told."""
        self.phase = Phase.CLOSED
        self._current_at = None
        self._trouble = self.last_error = error

    # For the session

    def stream_opened(self, at: float) -> None:
        """Record that a stream was opened, which was heard of then. It is the BBS's own, until it says otherwise."""
        self._step(Step.OPENED)
        self._forget_source()
        self._stream_alive(at)

    def stream_lost(self, error: LRPMirrorError) -> None:
        """Record that the stream ended, or could not be opened."""
        self.failed(error)
        self._ping_trouble = None
        self._step(Step.LOST)

    def stream_replaced(self, at: float) -> None:
        """Record that another stream, last heard of then, took the place of the one that was followed."""
        self._ping_trouble = None
        self._forget_source()
        self._stream_alive(at)

    def restored(self, since: float | None) -> None:
        """Record when the state was the server's that there is to begin with; None: nobody knows."""
        self._step(Step.RESTORED)
        self.alive_at = self._current_at = since
        self.restored_at = -inf if since is None else since

    def answered(self, at: float) -> None:
        """Record that the server lives, whatever its answer is worth."""
        self.alive_at = later(self.alive_at, at)

    def failed(self, error: LRPMirrorError) -> None:
        """Record what is wrong until the next list of everything is committed."""
        self._trouble = error
        self.noted(error)

    def suspect(self, error: ListNotBelieved) -> None:
        """Record that the server contradicts the state, and that it is not decided yet what is true."""
        self.failed(error)
        self._step(Step.HELD)

    @property
    def is_suspect(self) -> bool:
        """Whether what is wrong is that the server contradicts the state."""
        return isinstance(self._trouble, ListNotBelieved)

    def cells_listed(self, error: LRPMirrorError | None) -> None:
        """Record whether the cells could be listed, which is no reason not to be LIVE."""
        self._cells_trouble = None if error is None else without_frames(error)
        if error is not None:
            self.noted(error)

    def synced(self, now: float, doubt: ListNotBelieved | None) -> None:
        """Record that a list of everything was committed, but for what is in doubt."""
        self.synced_at = now
        self.restored_at = None
        self._trouble = None
        if doubt is not None:
            self.suspect(doubt)
        elif self._source_trouble:
            self._lose_source()
        else:
            self._step(Step.SYNCED)

    def closed(self) -> None:
        """Record that the mirror is closed."""
        self._step(Step.CLOSED)

    # Inside

    def _step(self, step: Step) -> None:
        after = TRANSITIONS[self.phase, step]
        if after is None:
            raise AssertionError(f"a mirror that is {self.phase} cannot be told {step}: a mistake of its shell's")
        self._phase_changes(self.phase, after)
        # While LIVE it is the last proof of life, and from then on what that was.
        self._current_at = self.current_at
        self._outdated = False
        self.phase = after

    def _stream_alive(self, at: float) -> None:
        # The server may have shown a sign of life since.
        self.heard_at = at
        self.alive_at = later(self.alive_at, at)

    def _lose_source(self) -> None:
        """Be STALE, with the state as old as the source says that its own is."""
        known = self._trouble
        if not (self._outdated and isinstance(known, UpstreamStale) and known.trouble == self._source_trouble):
            self.failed(UpstreamStale(self._source_trouble))
        self._step(Step.OUTDATED)
        self._outdated = True
        self._current_at = self._source_at

    def _forget_source(self) -> None:
        self._source_at, self._source_trouble = None, ""


def later(one: float | None, other: float) -> float:
    """Return the later of two moments; None was never."""
    return other if one is None else max(one, other)
