"""How long to wait before trying again."""

from random import Random

__all__ = ["Backoff"]


class Backoff:
    """Full-jitter exponential back-off: a delay is drawn evenly from 0 to a bound that doubles with each failure.

    The draw keeps a fleet of mirrors from coming back at the same moment. Delays are in seconds.
    """

    def __init__(self, rng: Random, *, first: float, most: float) -> None:
        self._rng = rng
        self._first = first
        self._most = most
        self._failures = 0

    def failed(self) -> float:
        """Count a failure and return the delay before the next try."""
        # The exponent is bounded so that months of failures do not overflow a float.
        bound = min(self._most, self._first * 2 ** min(self._failures, 62))
        self._failures += 1
        return self._rng.uniform(0, bound)

    def succeeded(self) -> None:
        """Forget the failures."""
        self._failures = 0
