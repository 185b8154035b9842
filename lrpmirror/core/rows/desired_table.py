"""The desired LRPs of a mirror, with their indexes: the half of the store that knows no rows.

Only the ordered index (the process guids of an app) needs a lock, which a writer holds for no longer than an insertion.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Final, TypeVar

from lrpmirror.core.rows.ordered import OrderedTexts
from lrpmirror.model import DesiredLRP

K = TypeVar("K")
T = TypeVar("T")


class DesiredTable:
    """Desired LRPs by process guid, also by domain and in order."""

    def __init__(self) -> None:
        self._desired: dict[str, DesiredLRP] = {}
        self._desired_by_domain: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._desired_guids: Final = OrderedTexts()
        self._lock = Lock()
        self.desired: Final[Callable[[str], DesiredLRP | None]] = self._desired.get
        """Returns the desired LRP of a process. O(1): the dict's own method, for every event."""

    def desired_count(self) -> int:
        """Return how many desired LRPs there are. O(1)."""
        return len(self._desired)

    def desired_guids(self) -> list[str]:
        """Return the process guids of all desired LRPs. O(desired LRPs)."""
        return list(self._desired)

    def desired_by_domain(self) -> list[dict[str, None]]:
        """Return the same guids as the keys of dicts, each once, which takes a third of the time. O(desired LRPs)."""
        return [guids.copy() for guids in self._desired_by_domain.values()]

    def select_desired(self, *, app_guid: str | None, domain: str | None) -> tuple[DesiredLRP, ...]:
        """Return the desired LRPs whose process guid begins with `app_guid` and whose domain is `domain`, where given.

        By process guid where `app_guid` is given, which costs O(log desired + found); else in no promised order.
        """
        if app_guid is not None:
            with self._lock:
                guids: Iterable[str] = self._desired_guids.beginning(app_guid)
        elif domain is not None:
            guids = copied(self._desired_by_domain.get(domain, ()))
        else:
            return tuple(copied(self._desired.values()))
        found = map(self._desired.get, guids)
        return tuple(lrp for lrp in found if lrp is not None and domain in (None, lrp.domain))

    def put_desired(self, lrp: DesiredLRP) -> DesiredLRP | None:
        """Insert a desired LRP, or replace its process's, which is returned. O(log desired) when new, else O(1)."""
        guid = lrp.process_guid
        old = self._desired.get(guid)
        self._desired[guid] = lrp
        if old is None:
            with self._lock:
                self._desired_guids.add(guid)
        elif old.domain == lrp.domain:
            return old
        else:
            discard(self._desired_by_domain, old.domain, guid)
        self._desired_by_domain[lrp.domain][guid] = None
        return old

    def remove_desired(self, process_guid: str) -> None:
        """Remove the desired LRP of a process, which must be there."""
        lrp = self._desired.pop(process_guid)
        with self._lock:
            self._desired_guids.remove(process_guid)
        discard(self._desired_by_domain, lrp.domain, process_guid)


def copied(of: Iterable[T]) -> list[T]:
    """Copy from a dict that another thread may be writing, in one uninterruptible step.

    A list does that. A tuple is allocated while the dict is being read, which can start the garbage collector, and with
    it finalizers that let the other thread run.
    """
    return list(of)


def discard(index: dict[str, dict[K, None]], value: str, key: K) -> None:
    """Remove a key from those that an index has for a value, and the value with its last key."""
    keys = index[value]
    del keys[key]
    if not keys:
        del index[value]
