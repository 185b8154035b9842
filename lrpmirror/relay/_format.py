"""The format of a relay: its keys, the status, the entries of the stream of changes, and the scripts that write them.

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
from hashlib import sha1
from typing import Final

import msgspec
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

HASHES: Final = ("actual_lrps", "processes", "scheduling_infos", "routing_infos", "desired_lrps", "domains", "cells")
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
    phase: str
    """That of its mirror: `live` or not; `resyncing` also while it brings what is here up to date; FILLING, CLOSED."""
    age: float  # how many seconds old its state was then, with the time that the transaction was on its way
    revision: int  # that of its mirror
    link: str  # the last transaction's name
    changes: int = 0  # how many records have been written or removed so far
    detail: str  # `full` where whole desired LRPs are here, with their secrets
    trouble: str  # why it is not live
    publisher: str  # the publisher's name, for people
    heartbeat: float  # when the last transaction was, in seconds of the server's clock
    live_at: float  # when the leader was last live with the BBS, by the same clock
    counts: tuple[int, ...]
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
            times = {name: int(texts[name]) / 1000 for name in ("heartbeat", "live_at")}
            return msgspec.convert({**texts, **times, "counts": texts["counts"].split()}, cls, strict=False)
        except (KeyError, ValueError, msgspec.ValidationError) as exc:
            raise RelayUnreadable(f"{where}: the status there cannot be read: {exc!r}") from exc


class Entry(Struct, frozen=True, kw_only=True):
    """One entry of the stream of changes."""

    link: str
    before: str
    phase: str
    trouble: str
    revision: int
    age: float
    events: Sequence[tuple[str, bytes]]  # the types and payloads of events, in their order

    @classmethod
    def read(cls, pairs: Sequence[tuple[bytes, bytes]], where: str) -> "Entry":
        """Read the fields of an entry. Raises RelayUnreadable for a malformed one."""
        try:
            head = {name.decode(): value.decode() for name, value in pairs if not name[:1].isdigit()}
            told = [(name.partition(b".")[2].decode(), value) for name, value in pairs if name[:1].isdigit()]
            return msgspec.convert({**head, "events": told}, cls, strict=False)
        except (ValueError, msgspec.ValidationError) as exc:
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


class Script(Struct, frozen=True):
    """A Lua script and its name on the server, which runs it as one step, with the permissions of the caller.

    Nothing else writes, so what COMMIT checks holds for every write: the writer still leads, the content is what its
    last known write left, and no hash has lost or gained a record since.
    """

    text: str
    name: str


class Transaction(Struct, frozen=True, kw_only=True, array_like=True):
    """What COMMIT is to write and when: one argument, since each costs both sides, without bytes. Times are in ms."""

    token: str  # the publisher's, who must lead
    lease: str  # for how long it leads from then on
    before: str  # the link that must be there
    link: str  # the one of this transaction
    counts: Sequence[int]  # how many fields the hashes must have, if that is known
    age: int  # how old the publisher's state is
    as_of: int  # when it was so, by the server's clock
    patience: int  # how long ago that may be
    phase: str
    trouble: str
    revision: str
    live: bool  # whether the publisher is live with the BBS
    more: Sequence[str]  # further fields of the status, with their values
    follows: str  # the link that the entry says it follows
    oldest: str  # the oldest entry to be kept, or nothing
    events: int  # how many arguments are the entry's events; -1: no entry
    hashes: Sequence[tuple[int, int, int]]
    """For each hash that changes: its number in the keys, and how many arguments are fields to set, and to remove."""


def _script(text: str) -> Script:
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


ACQUIRE: Final = _script("""\
-- KEYS: lease, status. ARGV: token, lease in ms, whether the caller is live with the BBS, how long a leader may not be.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  local live_at = tonumber(redis.call('HGET', KEYS[2], 'live_at') or '')
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  if ARGV[3] ~= '1' or not live_at or now - live_at <= tonumber(ARGV[4]) then return 0 end
  redis.call('HSET', KEYS[2], 'live_at', string.format('%d', now))
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")
"""Take the lead where it is free, or where the leader is not live and the caller is; returns 1 where it is taken."""

RELEASE: Final = _script("""\
-- KEYS: lease. ARGV: token.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
""")
"""Give up the lead, if it is the caller's."""

COMMIT: Final = _script(
    f"local {', '.join(Transaction.__struct_fields__)} = unpack(cmsgpack.unpack(ARGV[1]))"
    """
-- KEYS: lease, status, changes, then the hashes.
-- ARGV: a Transaction as MessagePack, then what it counts: events with their names, and the fields of the hashes.
local at = 2
local function each(command, key, number)
  local n, last = 0, at + number - 1
  for j = at, last, 1000 do n = n + redis.call(command, key, unpack(ARGV, j, math.min(j + 999, last))) end
  at = last + 1
  return n
end
local holder = redis.call('GET', KEYS[1])
if holder ~= token then return {'fenced', holder or ''} end
local known = redis.call('HMGET', KEYS[2], 'link', 'live_at', 'changes')
local there = known[1] or ''
if there ~= before then return {'diverged', there} end
local numbers, same = {}, true
for i = 4, #KEYS do
  local n = redis.call('HLEN', KEYS[i])
  numbers[i - 3] = n
  same = same and n == counts[i - 3]
end
if not same and #counts > 0 then return {'altered', numbers} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local waited = now - as_of
now = string.format('%d', now)
if waited < 0 or waited > patience then return {'late', now} end
age = string.format('%.3f', (age + waited) / 1000)
local said = {'link', link, 'phase', phase, 'trouble', trouble, 'age', age, 'revision', revision}
local id = ''
if events >= 0 then
  local command = {'XADD', KEYS[3]}
  if oldest ~= '' then command[3], command[4] = 'MINID', oldest end
  command[#command + 1] = '*'
  for j = 1, #said do command[#command + 1] = said[j] end
  command[#command + 1], command[#command + 2] = 'before', follows
  for j = at, at + events - 1 do command[#command + 1] = ARGV[j] end
  at = at + events
  id = redis.call(unpack(command))
end
local changes = 0
for _, hash in ipairs(hashes) do
  local i, set, removed = unpack(hash)
  local more = each('HSET', KEYS[i], set) - each('HDEL', KEYS[i], removed)
  numbers[i - 3] = numbers[i - 3] + more
  same = same and more == 0
  changes = changes + set / 2 + removed
end
if not same then said[#said + 1], said[#said + 2] = 'counts', table.concat(numbers, ' ') end
if live or not known[2] then said[#said + 1], said[#said + 2] = 'live_at', now end
if changes > 0 then
  said[#said + 1], said[#said + 2] = 'changes', string.format('%d', (known[3] or 0) + changes)
end
redis.call('HSET', KEYS[2], 'heartbeat', now, unpack(said))
if #more > 0 then redis.call('HSET', KEYS[2], unpack(more)) end
redis.call('PEXPIRE', KEYS[1], lease)
return {'done', now, id, numbers}
"""
)
"""Write what has changed, as one step. Returns `done` with the time, the entry's id and the counts, or why nothing was
written: `fenced` (another publisher leads, or none), `diverged` (another link is there), `altered` (other counts are),
`late` with the time (by this clock it was sent too long ago, or is yet to be: the clock has been set).

The time on the way is added to the age that is written."""

FIRST_HASH: Final = 4  # the number of the first of the hashes in the keys of COMMIT
