"""How long to wait before trying again."""

from random import Random


class Backoff:
    """Full-jitter exponential back-off: a delay is drawn evenly from 0 to a bound that doubles with each failure.

    The draw keeps a fleet of mirrors from coming back at the same moment. Delays are in seconds.
    """

    def __init__(self, rng: Random, *, first: float, most: float) -> None:
        self._rng = rng
        self._first = first
        self._most = most
        self._failures = 0
        self._bound = 0.0

    def failed(self, lasted: float = 0.0, cost: float = 0.0) -> float:
        """Count a failure and return the delay before the next try.

        `lasted` is for how long the last try worked, `cost` how long it took to get there. A try that lasted longer
        than both its cost and the bound of the delay before it counts as a success. So a server on which every try
        begins well and fails at once is tried ever more rarely.
        """
        if lasted > max(self._bound, cost):
            self._failures = 0
        # Bounded, so that months of failures do not overflow a float.
        self._bound = min(self._most, self._first * 2 ** min(self._failures, 62))
        self._failures += 1
        return self._rng.uniform(0, self._bound)

    def succeeded(self) -> None:
        """Forget the failures."""
        self._failures = 0
        self._bound = 0.0
