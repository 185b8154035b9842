"""The scripts of a publisher, each one atomic step in Redis: taking the lead, and writing changes.

Both are Lua, which Redis and Valkey run as one uninterruptible command, in a cluster on the node of the keys' slot, and
with the permissions of the caller. Nothing else writes, so these checks hold for every write: the writer still leads,
the content is what its last known write left, and no hash has lost or gained a record since.
"""

from hashlib import sha1
from typing import Final

from msgspec import Struct

__all__ = ["ACQUIRE", "COMMIT", "FIRST_HASH", "RELEASE", "SCRIPTS", "Script"]


class Script(Struct, frozen=True):
    """A Lua script and its name on the server."""

    text: str
    name: str


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

COMMIT: Final = _script("""\
-- KEYS: lease, status, changes, then the hashes.
-- ARGV: token, lease in ms, the link that is there, the next one, the oldest entry to keep or '',
--   the counts that the hashes have, as one text, or '', the phase,
--   whether the writer is live with the BBS;
--   how old its state is, in ms, and when it was so, in ms of the clock here; how many ms ago that may be;
--   then two groups, each after its length: fields of the status, fields of an entry (none: no entry);
--   then for each hash that changes its number in KEYS and two groups: fields with values to set, fields to remove.
local at = 11
local function group()
  local n = tonumber(ARGV[at + 1])
  local from = at + 2
  at = at + 1 + n
  return from, at
end
local function each(command, key, from, to)
  local n = 0
  for j = from, to, 1000 do n = n + redis.call(command, key, unpack(ARGV, j, math.min(j + 999, to))) end
  return n
end
local holder = redis.call('GET', KEYS[1])
if holder ~= ARGV[1] then return {'fenced', holder or ''} end
local known = redis.call('HMGET', KEYS[2], 'link', 'live_at')
local link = known[1] or ''
if link ~= ARGV[3] then return {'diverged', link} end
local counts = {}
for i = 4, #KEYS do counts[i - 3] = redis.call('HLEN', KEYS[i]) end
local there = table.concat(counts, ' ')
if ARGV[6] ~= '' and there ~= ARGV[6] then return {'altered', there} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local waited = now - ARGV[10]
now = string.format('%d', now)
if waited < 0 or waited > tonumber(ARGV[11]) then return {'late', now} end
local age = string.format('%.3f', (ARGV[9] + waited) / 1000)
local status, status_end = group()
local entry, entry_end = group()
local changes = 0
while at < #ARGV do
  at = at + 1
  local i = tonumber(ARGV[at])
  local from, to = group()
  local added = each('HSET', KEYS[i], from, to)
  changes = changes + (to - from + 1) / 2
  from, to = group()
  counts[i - 3] = counts[i - 3] + added - each('HDEL', KEYS[i], from, to)
  changes = changes + (to - from + 1)
end
local id = ''
if entry <= entry_end then
  local command = {'XADD', KEYS[3]}
  if ARGV[5] ~= '' then
    command[3], command[4] = 'MINID', ARGV[5]
  end
  for _, part in ipairs({'*', 'age', age}) do command[#command + 1] = part end
  for j = entry, entry_end do command[#command + 1] = ARGV[j] end
  id = redis.call(unpack(command))
end
there = table.concat(counts, ' ')
local command = {'HSET', KEYS[2], 'link', ARGV[4], 'counts', there, 'heartbeat', now, 'phase', ARGV[7], 'age', age}
if ARGV[8] == '1' or not known[2] then
  command[#command + 1] = 'live_at'
  command[#command + 1] = now
end
for j = status, status_end do command[#command + 1] = ARGV[j] end
redis.call(unpack(command))
if changes > 0 then redis.call('HINCRBY', KEYS[2], 'changes', string.format('%d', changes)) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'done', id, there, now}
""")
"""Write what has changed, as one step. Returns `done` with the entry's id, the counts and the time, or why nothing was
written: `fenced` (another publisher leads, or none), `diverged` (another link is there), `altered` (other counts are),
`late` with the time (by this clock it was sent too long ago, or is yet to be: the clock has been set).

The time on the way is added to the age that is written."""

FIRST_HASH: Final = 4
"""The number of the first of the hashes in the keys of COMMIT."""

SCRIPTS: Final = {script.name: script for script in (ACQUIRE, RELEASE, COMMIT)}
"""All scripts, by name."""
