"""The rollback guard: lists that are older than the state, from a server that lags or whose database was set back.

A server whose database was restored, or failed over to a replica that had not received the last transactions, lists
records in older versions, with the same epochs, and goes on from there; records that were removed are back. Nothing
announces it. A server that lags answers in the same way, but not twice: so a record that is listed in an older version
than known is not believed at first. It is believed when another list, some seconds later and on a stream that was
opened since, has it in an older version too.

Until then a list that has such records is not committed at all: what it lacks may have been created since. A repair,
the read of some processes, decides nothing: then a list of everything is requested at once. The second such list is
committed, whatever it has: records that only this one has in older versions stay as they are, and need another list.

A list that was requested after an event had been received is never older than that event, if the server neither lags
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

NAMED: Final = 5
"""How many records a message names."""

DETAILED: Final = 2_000
"""For how many records of a list the listed and known versions are kept, for decisions and messages."""

MOST_DOUBLINGS: Final = 6
"""How often the wait for a deciding list is doubled at most."""

OlderKey = RowKey | tuple[str]
"""The key of a record here: a row's identity, or a desired LRP's process guid in a tuple."""


class Sighting:
    """The list that was the first to have a record in an older version."""

    def __init__(self) -> None:
        self.at = inf
        """When that list had been read."""


class OlderRecord(Struct, frozen=True, gc=False):
    """A record in an older version than known; `known` is None where an event had removed it."""

    listed: Record
    known: Record | None

    def __str__(self) -> str:
        listed = self.listed
        where = f"{listed.process_guid}/{listed.index}" if isinstance(listed, ActualLRP) else listed.process_guid
        known = "its removal" if self.known is None else f"{self.known.tag_index}"
        return f"{where} {listed.epoch}:{listed.tag_index} after {known}"


class OlderRecords:
    """The records that one list has in older versions than known. O(1) each."""

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
        """Whether it is a list of everything; only those confirm."""
        self._seen = seen
        self._asked_at = asked_at
        self._opened_at = opened_at
        self._wait = wait
        self.first_seen: Final = Sighting()
        """The sighting of records that no list before had in an older version."""
        self.unconfirmed: dict[OlderKey, Sighting] = {}
        """Records that are not believed yet."""
        self.believed: dict[OlderKey, Sighting] = {}
        """Records that are to be written in an older version."""
        self.returned: dict[OlderKey, Sighting] = {}
        """Records that are to be written although an event had removed them."""
        self.details: dict[OlderKey, OlderRecord] = {}
        """The first DETAILED of them, as this list had them first."""

    def confirms(self, at: float) -> bool:
        """Return whether this list confirms one read at `at`: it is late enough, and on a stream opened since."""
        return self.everything and at + self._wait <= self._asked_at and at < self._opened_at

    def believes(self, key: OlderKey, listed: Record, known: Record) -> bool:
        """Add a record that is listed in an older version than known; return whether it is believed."""
        return self._judge(key, listed, known, self.believed)

    def believes_return(self, key: OlderKey, listed: Record) -> bool:
        """Add a record that is listed in a version that an event had removed; return whether it is believed."""
        return self._judge(key, listed, None, self.returned)

    def takes_back(self, key: OlderKey) -> bool:
        """Return whether a record is to be written in an older version, or although it was removed."""
        return key in self.believed or key in self.returned

    def new(self) -> list[OlderRecord]:
        """Return the records that this list is the first to have older, of those with details. O(DETAILED)."""
        return [record for key, record in self.details.items() if self.unconfirmed.get(key) is self.first_seen]

    def named(self, keys: Iterable[OlderKey], number: int) -> str:
        """Return the first of `number` records as text, with their listed and known versions."""
        records = (self.details.get(key) for key in islice(keys, NAMED))
        more = f"; and {number - NAMED} more" if number > NAMED else ""
        return "; ".join(str(record) for record in records if record is not None) + more

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
    """What a believed list took back."""

    older: int
    """How many records were written in an older version than known."""
    returned: int
    """How many records are back that events had removed."""
    named: str
    """A few of them, as text."""

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

    O(1) each. Memory: O(unconfirmed records).
    """

    def __init__(self, tuning: Tuning) -> None:
        self._wait = tuning.rollback_wait
        self._seen: dict[OlderKey, Sighting] = {}
        self._since: float | None = None
        """When the list of everything that needs a confirmation had been read; None: there is none."""
        self._rounds = 0
        """How many lists in a row could have confirmed everything and had new records in older versions instead."""

    @property
    def has_unconfirmed(self) -> bool:
        """Whether any record in an older version is neither confirmed nor refuted."""
        return bool(self._seen)

    @property
    def wants_list(self) -> bool:
        """Whether a repair has found older versions, on which a list of everything has to decide."""
        return bool(self._seen) and self._since is None

    def wants_stream(self, opened_at: float) -> bool:
        """Return whether a list on a stream that was opened at `opened_at` cannot decide, being too old a stream."""
        return self._since is not None and opened_at <= self._since

    def wait(self, now: float) -> float:
        """Return in how many seconds to request a list that can decide.

        The wait doubles each time that a list has new records in older versions: such a server lags all the time.
        """
        if self._since is None:
            return 0.0
        return max(0.0, self._since + self._wait * float(1 << min(self._rounds, MOST_DOUBLINGS)) - now)

    def begin(self, now: float, opened_at: float, *, everything: bool) -> OlderRecords:
        """Return a collector of the older records of a list that is requested now, on a stream opened at `opened_at`.

        Only a list of everything confirms, so that all that the server was set back to is written in one commit.
        """
        return OlderRecords(self._seen, asked_at=now, opened_at=opened_at, wait=self._wait, everything=everything)

    def judge(self, older: OlderRecords, now: float) -> tuple[ListNotBelieved | None, bool]:
        """Judge a list: return why some of it is not believed (None: all is), and whether the rest is to be committed.

        The caller then calls `committed` or `not_committed`.
        """
        older.first_seen.at = now
        if not older.unconfirmed:
            return None, True
        return self._not_believed(older), self._since is not None and older.confirms(self._since)

    def committed(self, older: OlderRecords, now: float) -> Rollback | None:
        """Record that a list of everything was committed, except for what is not believed; return what it took back."""
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
        """Record that a list was not committed: what it would have confirmed stays unconfirmed."""
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


def is_older(one: Record, other: Record) -> bool:
    """Return whether one version of a record is older than another of the same record. O(1)."""
    return bool(one.epoch) and one.epoch == other.epoch and one.tag_index < other.tag_index
