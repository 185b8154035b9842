"""The format of a relay: its keys, the status, and the entries of the stream of changes.

All keys of one relay have one hash tag, `{PREFIX}`, so that a cluster keeps them in one slot:

    {PREFIX}:actual_lrps       hash: a row's identity -> models.ActualLRP
    {PREFIX}:processes         hash: a process guid -> the identities of its rows, one a line, by index
    {PREFIX}:scheduling_infos  hash: a process guid -> models.DesiredLRPSchedulingInfo
    {PREFIX}:routing_infos     hash: a process guid -> models.DesiredLRP, of which the routing part
    {PREFIX}:desired_lrps      hash: a process guid -> models.DesiredLRP, whole; only where the publisher keeps secrets
    {PREFIX}:domains           hash: a fresh domain -> its name
    {PREFIX}:cells             hash: a cell's id -> models.CellPresence
    {PREFIX}:changes           stream: what each transaction changed, capped
    {PREFIX}:status            hash: see `Status`
    {PREFIX}:lease             string, with a time to live: the token of the publisher that leads

A row's identity is the epoch of its modification tag, or `PROCESS/INDEX/PRESENCE` for old rows that have none.

An entry of the stream is what one transaction did. Its fields are `link` and `before` (which name this entry and the
one that it follows), `phase`, `trouble`, `age` and `revision` as in the status, and for each change a number and the
type of the BBS's event that tells of it, such as `0.actual_lrp_instance_created`, whose value is the event's protobuf
payload; and last the crash events of the BBS. There is one a second at least, empty where nothing changed. A reader has
missed nothing as long as each entry follows the link that it read last; otherwise it lists anew.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from lrpmirror.core.rows.changes import RowKey
from lrpmirror.errors import NoPublisher, RelayUnreadable, UpstreamStale

FORMAT: Final = "1"  # the version of this format. Readers refuse any other, and publishers leave it alone.
HEARTBEAT: Final = 1.0  # seconds between two entries of the stream at most
PATIENCE: Final = 3.5  # seconds without an entry after which readers assume that there is no publisher
LEASE: Final = 3.0  # seconds for which a publisher leads after a write

UNDER_WAY: Final = 10.0
"""Seconds that a transaction may be on its way, by the server's clock: more than any connection waits. Beyond it the
clock has been set since the publisher read it, and the transaction is sent again with a new reading."""

FILLING: Final = "filling"  # the phase while the relay is incomplete and writes add no events to the stream
CLOSED: Final = "closed"  # the phase after a publisher has closed

HASHES: Final = (
    "actual_lrps",
    "processes",
    "scheduling_infos",
    "routing_infos",
    "desired_lrps",
    "domains",
    "cells",
)
"""The hashes that hold records, in the order in which the transaction takes them."""


class Keys:
    """The names of a relay's keys, and `where` it is, for messages."""

    def __init__(self, prefix: str, where: str = "") -> None:
        self.prefix = prefix
        self.where = where
        self.lease = self.key("lease")
        self.status = self.key("status")
        self.changes = self.key("changes")
        self.hashes = tuple(map(self.key, HASHES))

    def key(self, name: str) -> str:
        """Return the key of that name."""
        return f"{{{self.prefix}}}:{name}"

    @property
    def all(self) -> tuple[str, ...]:
        """Every key that a transaction touches, in its order."""
        return (self.lease, self.status, self.changes, *self.hashes)


def field_of(key: RowKey) -> str:
    """Return under which field a row is kept, by its identity."""
    return key if isinstance(key, str) else "/".join(map(str, key))


class Status(Struct, frozen=True, kw_only=True):
    """What the leading publisher writes of itself and the relay with each transaction."""

    format: str = FORMAT
    phase: str = ""
    """That of its mirror: `live` or not; `resyncing` also while it brings what is here up to date; FILLING, CLOSED."""
    age: float = 0.0
    """How many seconds old its state was then, with the time that the transaction was on its way."""
    revision: int = 0
    """That of its mirror."""
    link: str = ""
    """The last transaction's name."""
    changes: int = 0
    """How many records have been written or removed so far."""
    detail: str = "routing"
    """`full` where whole desired LRPs are here, with their secrets."""
    trouble: str = ""
    """Why it is not live."""
    publisher: str = ""
    """The publisher's name, for people."""
    heartbeat: float = 0.0
    """When the last transaction was, in seconds of the server's clock."""
    live_at: float = 0.0
    """When the leader was last live with the BBS, by the same clock."""
    counts: tuple[int, ...] = ()
    """How many fields each of the hashes had after it, in the order of HASHES; empty where there was none yet."""

    @classmethod
    def read(cls, fields: Mapping[bytes, bytes], where: str) -> "Status | None":
        """Read the hash; None where there is none. Raises RelayUnreadable for another version, or a malformed one."""
        if not fields:
            return None
        found = fields.get(b"format", b"").decode("utf-8", "replace")
        if found != FORMAT:
            raise RelayUnreadable(
                f"{where}: the status there is of format {found!r}, and this lrpmirror knows {FORMAT!r}: use the same "
                "version on both sides, or another prefix"
            )
        try:
            texts = {name.decode(): value.decode() for name, value in fields.items()}
            return cls(
                phase=texts["phase"],
                age=float(texts["age"]),
                revision=int(texts["revision"]),
                link=texts["link"],
                changes=int(texts.get("changes", "0")),
                detail=texts["detail"],
                trouble=texts["trouble"],
                publisher=texts["publisher"],
                heartbeat=int(texts["heartbeat"]) / 1000,
                live_at=int(texts["live_at"]) / 1000,
                counts=tuple(map(int, texts["counts"].split())),
            )
        except (KeyError, ValueError) as exc:
            raise RelayUnreadable(f"{where}: the status there cannot be read: {exc!r}") from exc


class Entry(Struct, frozen=True, kw_only=True):
    """One entry of the stream of changes."""

    link: str
    before: str
    phase: str
    trouble: str
    revision: int
    age: float = 0.0
    events: Sequence[tuple[str, bytes]]
    """The types and payloads of events, in their order."""

    @classmethod
    def read(cls, pairs: Sequence[tuple[bytes, bytes]], where: str) -> "Entry":
        """Read the fields of an entry. Raises RelayUnreadable for a malformed one."""
        head = dict(pairs)
        try:
            return cls(
                link=head[b"link"].decode(),
                before=head[b"before"].decode(),
                phase=head[b"phase"].decode(),
                trouble=head[b"trouble"].decode(),
                age=float(head[b"age"]),
                revision=int(head[b"revision"]),
                events=[(name.partition(b".")[2].decode(), value) for name, value in pairs if name[:1].isdigit()],
            )
        except (KeyError, ValueError) as exc:
            raise RelayUnreadable(f"{where}: an entry of the stream of changes cannot be read: {exc!r}") from exc


def check_status(status: Status | None, now: float, where: str) -> Status:
    """Return the status, `now` by the server's clock. Raises NoPublisher where it is old, UpstreamStale in part."""
    if status is None:
        raise NoPublisher(f"{where}: nothing has been published there: is the prefix right, and a publisher running?")
    silence = now - status.heartbeat
    if silence > PATIENCE:
        how = "has been closed" if status.phase == CLOSED else "was last heard of"
        raise NoPublisher(f"{where}: nobody publishes there: {status.publisher} {how} {silence:.0f} s ago")
    if status.phase == FILLING:
        raise UpstreamStale(trouble_of(status.phase, status.trouble))
    return status


def trouble_of(phase: str, trouble: str) -> str:
    """Return why the publisher does not follow the BBS now; empty where it does."""
    return "" if phase == "live" else trouble or phase
