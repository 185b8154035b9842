"""Lists that are older than what is known: from a server that lags behind, or from one whose database was set back.

A server whose database was restored, or failed over to a replica that had not received the last transactions, lists
records in older versions, with the same epochs, and goes on from there; records that were removed are back. Nothing
announces it. A server that lags answers in the same way, but not twice: so a record that is listed in an older version
than known is not believed at first. It is when another list, some seconds later and on a stream that was opened since,
has it in an older version too.

Until then a list that has such records is not committed at all: what it lacks may have been created since. A read of
some processes decides nothing: a list of everything is asked for at once. The second such list is committed, whatever
it has: what it alone has older stays as it is known, and is asked for again.

A list that was asked for after an event had been received never is older than that event, if the server neither lags
nor was set back. So there are no false alarms.
"""

from collections.abc import Iterable, Mapping
from itertools import chain, islice
from math import inf
from typing import Final

from msgspec import Struct

from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.core.lists.difference import Record
from lrpmirror.core.rows.changes import RowKey
from lrpmirror.errors import ListNotBelieved
from lrpmirror.model import ActualLRP

__all__ = ["OlderKey", "OlderRecords", "Rollback", "RollbackGuard", "Sighting"]

NAMED: Final = 5
"""How many records a message names."""

DETAILED: Final = 2_000
"""Of how many records of a list it is kept in which versions they were listed and known: to be explained, and named."""

MOST_DOUBLINGS: Final = 6
"""How often the wait for a list that can decide is doubled."""

OlderKey = RowKey | tuple[str]
"""What names a record here: a row by its identity, a desired LRP by its process guid in a tuple."""


class Sighting:
    """The read that had a record in an older version first."""

    def __init__(self) -> None:
        self.at = inf
        """When it had been read."""


class OlderRecord(Struct, frozen=True, gc=False):
    """A record in an older version than known; `known` is None for one that an event had said to be gone."""

    listed: Record
    known: Record | None

    def __str__(self) -> str:
        one = self.listed
        where = f"{one.process_guid}/{one.index}" if isinstance(one, ActualLRP) else one.process_guid
        known = "its removal" if self.known is None else f"{self.known.tag_index}"
        return f"{where} {one.epoch}:{one.tag_index} after {known}"


class OlderRecords:
    """What one list has in older versions than known. O(1) each."""

    def __init__(
        self,
        seen: Mapping[OlderKey, Sighting],
        *,
        asked_at: float,
        opened_at: float,
        wait: float,
        everything: bool,
    ) -> None:
        self.everything: Final = everything
        """Whether it is a list of everything: only such a one confirms."""
        self._seen = seen
        self._asked_at = asked_at
        self._opened_at = opened_at
        self._wait = wait
        self.first_seen: Final = Sighting()
        """The sighting of what no list before had older."""
        self.unconfirmed: dict[OlderKey, Sighting] = {}
        """What is not believed yet."""
        self.believed: dict[OlderKey, Sighting] = {}
        """What is to be taken in an older version."""
        self.returned: dict[OlderKey, Sighting] = {}
        """What is to be taken though an event had said that it was gone."""
        self.details: dict[OlderKey, OlderRecord] = {}
        """Some of them, as they were when they were first seen in this list."""

    def confirms(self, at: float) -> bool:
        """Return whether this list can confirm one of that time: it came late enough, and on a stream opened since."""
        return self.everything and at + self._wait <= self._asked_at and at < self._opened_at

    def believes(self, key: OlderKey, listed: Record, known: Record) -> bool:
        """Take a record that is listed in an older version than known; tell whether that is believed."""
        return self._judge(key, listed, known, self.believed)

    def believes_return(self, key: OlderKey, listed: Record) -> bool:
        """Take a record that is listed, in a version that an event had said to be gone; tell whether it is believed."""
        return self._judge(key, listed, None, self.returned)

    def takes_back(self, key: OlderKey) -> bool:
        """Return whether a record is to be taken in an older version, or though it was gone."""
        return key in self.believed or key in self.returned

    def new(self) -> list[OlderRecord]:
        """Return what is not believed and was not in doubt before, as far as the details are kept. O(DETAILED)."""
        return [one for key, one in self.details.items() if self.unconfirmed.get(key) is self.first_seen]

    def named(self, keys: Iterable[OlderKey], number: int) -> str:
        """Say which some records are, a few of that number, and which versions were listed and known."""
        some = (self.details.get(key) for key in islice(keys, NAMED))
        more = f"; and {number - NAMED} more" if number > NAMED else ""
        return "; ".join(str(one) for one in some if one is not None) + more

    def _judge(self, key: OlderKey, listed: Record, known: Record | None, believed: dict[OlderKey, Sighting]) -> bool:
        sighting = self._seen.get(key, self.first_seen)
        if len(self.details) < DETAILED:
            self.details.setdefault(key, OlderRecord(listed, known))
        if self.confirms(sighting.at):
            believed[key] = sighting
            return True
        self.unconfirmed[key] = sighting
        return False


class Rollback(Struct, frozen=True):
    """What a list that was believed took back."""

    older: int
    """How many records were taken in an older version than known."""
    returned: int
    """How many records are back that events had said to be gone."""
    named: str
    """A few of them."""

    def __str__(self) -> str:
        return (
            "the server was set back: what a second list had older as well is the state now, "
            f"{_records(self.older)} in older versions and {_records(self.returned)} that had been removed "
            f"({self.named})"
        )


def _records(number: int) -> str:
    return "1 record" if number == 1 else f"{number} records"


class RollbackGuard:
    """Remembers which records a list had in older versions, until another list confirms or refutes it.

    O(1) each. Memory: O(records in doubt).
    """

    def __init__(self, tuning: Tuning) -> None:
        self._wait = tuning.rollback_wait
        self._seen: dict[OlderKey, Sighting] = {}
        self._since: float | None = None
        """When the list of everything that is to be confirmed had been read; None: there is none."""
        self._rounds = 0
        """How many lists in a row that could have confirmed everything had something older that was new."""

    @property
    def has_unconfirmed(self) -> bool:
        """Whether anything was read in an older version that is neither confirmed nor refuted."""
        return bool(self._seen)

    @property
    def wants_list(self) -> bool:
        """Whether a read of some processes has shown what only a list of everything can decide."""
        return bool(self._seen) and self._since is None

    def wants_stream(self, opened_at: float) -> bool:
        """Return whether only a list on another stream than one that was opened then can decide."""
        return self._since is not None and opened_at <= self._since

    def wait(self, now: float) -> float:
        """Return in how many seconds a list is to be asked for that can decide.

        Longer each time that brings something new: that is no server that was set back once.
        """
        if self._since is None:
            return 0.0
        return max(0.0, self._since + self._wait * float(1 << min(self._rounds, MOST_DOUBLINGS)) - now)

    def begin(self, now: float, opened_at: float, *, everything: bool) -> OlderRecords:
        """Return what is to take what a list has older, which is asked for now, on a stream that was opened then.

        Only a list of everything confirms: what the server was set back to is taken at once, and told in one commit.
        """
        return OlderRecords(self._seen, asked_at=now, opened_at=opened_at, wait=self._wait, everything=everything)

    def judge(self, older: OlderRecords, now: float) -> tuple[ListNotBelieved | None, bool]:
        """Judge what a list had older: return why some of it is not believed, and whether the rest is to be committed.

        None where it had nothing that is not believed. Then `committed` or `not_committed` is to be called.
        """
        older.first_seen.at = now
        if not older.unconfirmed:
            return None, True
        return self._not_believed(older), self._since is not None and older.confirms(self._since)

    def committed(self, older: OlderRecords, now: float) -> Rollback | None:
        """Record that a list of everything was committed, but for what is not believed; return what it took back."""
        self._seen = older.unconfirmed
        if older.unconfirmed:
            self._since, self._rounds = now, self._rounds + 1
        else:
            self._since, self._rounds = None, 0
        number = len(older.believed) + len(older.returned)
        if not number:
            return None
        named = older.named(chain(older.believed, older.returned), number)
        return Rollback(len(older.believed), len(older.returned), named)

    def not_committed(self, older: OlderRecords, now: float) -> None:
        """Record that a list was not committed: what it would have confirmed stays in doubt."""
        if not older.everything:
            self._seen = {**self._seen, **older.unconfirmed}
            return
        confirmed = older.believed or older.returned
        self._seen = {**older.unconfirmed, **older.believed, **older.returned} if confirmed else older.unconfirmed
        if self._seen and self._since is None:
            self._since = now

    def _not_believed(self, older: OlderRecords) -> ListNotBelieved:
        number, few = len(older.unconfirmed), older.named(older.unconfirmed, len(older.unconfirmed))
        return ListNotBelieved(
            f"a list is older than what is known, in {_records(number)} ({few}): the server lags behind, or was set "
            f"back; it is not believed unless another one, {self._wait:g} s later and on another stream, is so too "
            "(see Tuning.rollback_wait)"
        )
