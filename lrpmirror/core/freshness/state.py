"""The freshness of a session: its phase, the times of the signs of life, and what is wrong."""

from collections import Counter
from collections.abc import Callable
from math import inf

from lrpmirror.core.freshness.status import TRANSITIONS, Phase, Step
from lrpmirror.errors import ListNotBelieved, LRPMirrorError, UpstreamStale, without_frames
from lrpmirror.events import SourceStatus


class Freshness:
    """The part of a session from which its status is made. Times are those of the caller's clock.

    `phase_changes` is called with the phase before and the one after, just before the phase is written.
    """

    def __init__(self, phase_changes: Callable[[Phase, Phase], None]) -> None:
        self._phase_changes = phase_changes
        self.phase = Phase.CONNECTING
        self.synced_at: float | None = None
        """When the last lists of everything were committed."""
        self.alive_at: float | None = None
        """When there was the last proof of life."""
        self.restored_at: float | None = None
        """When the restored state was the server's, until a list of this mirror is committed."""
        self.heard_at: float | None = None
        """When the stream itself was last heard."""
        self.last_error: LRPMirrorError | None = None
        self.errors: Counter[str] = Counter()
        """The errors that ended a stream, a list or a ping, or hit the state file, by the name of their class."""
        self._current_at: float | None = None
        self._trouble: LRPMirrorError | None = None
        self._ping_trouble: LRPMirrorError | None = None
        self._cells_trouble: LRPMirrorError | None = None
        self._source_at: float | None = None
        """When the stream's state was the BBS's, as the source reports; None: it reports nothing, so it is the BBS."""
        self._source_trouble = ""
        self._outdated = False
        """Whether the source's trouble is the only reason for not being LIVE."""

    @property
    def current_at(self) -> float | None:
        """When the state was last known to be the BBS's; None: never."""
        if self.phase is not Phase.LIVE:
            return self._current_at
        return self.alive_at if self._source_at is None else self._source_at

    @property
    def trouble(self) -> LRPMirrorError | None:
        """What is wrong now; None: nothing known."""
        return self._trouble or self._ping_trouble or self._cells_trouble

    def source_reported(self, status: SourceStatus, at: float) -> None:
        """Record the status that the source reported on the followed stream; it covers the events before it.

        A source that has lost the BBS makes the mirror STALE. It is LIVE again when the source is, without a new list,
        since the source has sent on the stream what it had missed.
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
        """Record that nothing keeps this copy current from now on, and that its age is unknown."""
        self.phase = Phase.CLOSED
        self._current_at = None
        self._trouble = self.last_error = error

    # For the session

    def stream_opened(self, at: float) -> None:
        """Record that a stream was opened, last heard at `at`; its source counts as the BBS until it reports any."""
        self._step(Step.OPENED)
        self._forget_source()
        self._stream_alive(at)

    def stream_lost(self, error: LRPMirrorError) -> None:
        """Record that the stream ended, or could not be opened."""
        self.failed(error)
        self._ping_trouble = None
        self._step(Step.LOST)

    def stream_replaced(self, at: float) -> None:
        """Record that another stream, which last brought anything at `at`, replaced the followed one."""
        self._ping_trouble = None
        self._forget_source()
        self._stream_alive(at)

    def restored(self, since: float | None) -> None:
        """Record that the mirror begins with a restored state, and when that was the server's; None: unknown."""
        self._step(Step.RESTORED)
        self.alive_at = self._current_at = since
        self.restored_at = -inf if since is None else since

    def answered(self, at: float) -> None:
        """Record that the server answered, whether the answer is believed or not."""
        self.alive_at = later(self.alive_at, at)

    def failed(self, error: LRPMirrorError) -> None:
        """Record what is wrong until the next list of everything is committed."""
        self._trouble = error
        self.noted(error)

    def suspect(self, error: ListNotBelieved) -> None:
        """Record that the server contradicts the state, and that a second list has to decide."""
        self.failed(error)
        self._step(Step.HELD)

    @property
    def is_suspect(self) -> bool:
        """Whether the trouble is that the server contradicts the state."""
        return isinstance(self._trouble, ListNotBelieved)

    def cells_listed(self, error: LRPMirrorError | None) -> None:
        """Record whether the cells could be listed. An error does not keep the mirror from being LIVE."""
        self._cells_trouble = None if error is None else without_frames(error)
        if error is not None:
            self.noted(error)

    def synced(self, at: float, unconfirmed: ListNotBelieved | None) -> None:
        """Record that a list of everything, answered at `at`, is committed, but for what of it is not confirmed yet."""
        self.synced_at = at
        self.restored_at = None
        self._trouble = None
        if unconfirmed is not None:
            self.suspect(unconfirmed)
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
            raise AssertionError(f"a mirror that is {self.phase} cannot take the step {step}: a mistake of its shell's")
        self._phase_changes(self.phase, after)
        # Once LIVE is left it stays at the last proof of life.
        self._current_at = self.current_at
        self._outdated = False
        self.phase = after

    def _stream_alive(self, at: float) -> None:
        # A ping may have been answered since then.
        self.heard_at = at
        self.alive_at = later(self.alive_at, at)

    def _lose_source(self) -> None:
        """Become STALE, with a state as old as the source reports its own."""
        known = self._trouble
        if not (self._outdated and isinstance(known, UpstreamStale) and known.trouble == self._source_trouble):
            self.failed(UpstreamStale(self._source_trouble))
        self._step(Step.OUTDATED)
        self._outdated = True
        self._current_at = self._source_at

    def _forget_source(self) -> None:
        self._source_at, self._source_trouble = None, ""


def later(known: float | None, moment: float) -> float:
    """Return the later of two moments; None: there is no first one."""
    return moment if known is None else max(known, moment)
