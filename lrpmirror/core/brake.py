"""The brake: a list that would remove a large part of the state is not believed before a second one agrees.

A server that has just come up with an empty cache, a database that is being restored, or a URL that leads elsewhere for
a moment answers like a server that has nothing. Whoever routes by the mirror should not lose every route to it.
"""

from lrpmirror.core.tuning import Tuning
from lrpmirror.errors import ListNotBelieved

__all__ = ["Brake"]


class Brake:
    """Judges lists of everything by what they would remove. O(1) each."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self._since: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the last list was not believed."""
        return self._since is not None

    def judge(
        self, rows: int, rows_removed: int, desired: int, desired_removed: int, now: float
    ) -> ListNotBelieved | None:
        """Judge what a list would remove of how much; return why it is not believed, or None where it is.

        One that comes `brake_wait` after the first that was not, or later, and would remove too much as well, is.
        """
        much = self._much("rows", rows, rows_removed) or self._much("desired LRPs", desired, desired_removed)
        if not much:
            self._since = None
            return None
        if self._since is None:
            self._since = now
        elif self.wait(now) <= 0:
            self._since = None
            return None
        return ListNotBelieved(
            f"a list would remove {much}: it is not believed unless another one, {self._tuning.brake_wait:g} s later, "
            "would too (see Tuning.brake_share)"
        )

    def wait(self, now: float) -> float:
        """Return in how many seconds the second list is to be asked for."""
        return 0.0 if self._since is None else max(0.0, self._since + self._tuning.brake_wait - now)

    def _much(self, what: str, number: int, removed: int) -> str:
        """Say what would be removed where that is too much."""
        tuning = self._tuning
        if number < tuning.brake_rows or removed <= tuning.brake_share * number:
            return ""
        return f"{removed} of {number} {what}"
