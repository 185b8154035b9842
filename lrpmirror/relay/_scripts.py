"""The scripts of a publisher, each one atomic step in Redis: taking the lead, and writing changes.

Both are Lua, which Redis and Valkey run as one uninterruptible command, in a cluster on the node of the keys' slot, and
with the permissions of the caller. Nothing else writes, so these checks hold for every write: the writer still leads,
the content is what its last known write left, and no hash has lost or gained a record since.
"""

from collections.abc import Sequence
from hashlib import sha1
from typing import Final

from msgspec import Struct

__all__ = ["ACQUIRE", "COMMIT", "FIRST_HASH", "RELEASE", "SCRIPTS", "Script", "Transaction"]


class Script(Struct, frozen=True):
    """A Lua script and its name on the server."""

    text: str
    name: str


class Transaction(Struct, frozen=True, kw_only=True, array_like=True):
    """What COMMIT is to write and when: one argument, since each costs both sides, without bytes. Times are in ms."""

    token: str
    """The publisher's, who must lead."""
    lease: str
    """For how long it leads from then on."""
    before: str
    """The link that must be there."""
    link: str
    """The one of this transaction."""
    counts: Sequence[int]
    """How many fields the hashes must have, if that is known."""
    age: int
    """How old the publisher's state is."""
    as_of: int
    """When it was so, by the server's clock."""
    patience: int
    """How long ago that may be."""
    phase: str
    trouble: str
    revision: str
    live: bool
    """Whether the publisher is live with the BBS."""
    more: Sequence[str]
    """Further fields of the status, with their values."""
    follows: str
    """The link that the entry says it follows."""
    oldest: str
    """The oldest entry to be kept, or nothing."""
    events: int
    """How many arguments are the entry's events; -1: no entry."""
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
SCRIPTS: Final = {script.name: script for script in (ACQUIRE, RELEASE, COMMIT)}  # all scripts, by name
