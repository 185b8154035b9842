"""What a session knows of its own freshness: its phase, when there was what sign of life, and what is wrong."""

from lrpmirror.core.status import TRANSITIONS, Phase, Step
from lrpmirror.core.tally import Tally
from lrpmirror.errors import LRPMirrorError, without_frames

__all__ = ["Freshness"]


class Freshness:
    """The part of a session that its status is made of. Times are those of the caller's clock."""

    def __init__(self) -> None:
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
        self._tally = Tally()
        self._current_at: float | None = None
        self._trouble: LRPMirrorError | None = None
        self._ping_trouble: LRPMirrorError | None = None

    @property
    def current_at(self) -> float | None:
        """When the state was last known to be the server's; None: never."""
        return self.alive_at if self.phase is Phase.LIVE else self._current_at

    @property
    def trouble(self) -> LRPMirrorError | None:
        """What is wrong now; None: nothing that is known."""
        return self._trouble or self._ping_trouble

    def pinged(self, now: float) -> None:
        """Take note that the server answered a ping, while the stream is open."""
        self.alive_at = now
        self._ping_trouble = None

    def ping_failed(self, error: LRPMirrorError) -> None:
        """Take note that the server did not answer a ping as it should."""
        self._ping_trouble = error
        self.noted(error)

    def noted(self, error: LRPMirrorError) -> None:
        """Take note of an error that is not what is wrong with the state."""
        self.last_error = without_frames(error)
        self._tally.errors[type(error).__name__] += 1

    # For the session

    def _step(self, step: Step) -> None:
        after = TRANSITIONS[self.phase, step]
        if after is None:
            raise AssertionError(f"a mirror that is {self.phase} cannot be told {step}: a mistake of its shell's")
        # While LIVE it is the last proof of life, and from then on what that was.
        self._current_at = self.current_at
        self.phase = after

    def _failed(self, error: LRPMirrorError) -> None:
        """Take note of what is wrong until the next list of everything is committed."""
        self._trouble = error
        self.noted(error)
