"""The Lua scripts that write: each checks, in the same step as the write, that the writer still has the right to.

A script is atomic towards other clients but has no rollback, so each checks first and writes only then. They use
commands of Redis 7.0 and touch keys of one hash tag. ``KRM...`` errors become ``Fenced`` and ``OutOfStep``.

``fence`` holds, per role, ``<owner>:<token> <deadline in Redis ms>``.
"""

from __future__ import annotations

from typing import Final

_CLOCK: Final = """
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

_HOLD: Final = """
local function hold(role, holder)
  local held = redis.call('HGET', KEYS[1], role)
  return held and string.sub(held, 1, #holder + 1) == holder .. ' '
end
"""

_NEWER: Final = """
local function newer(one, other)
  return #one > #other or (#one == #other and one > other)
end
"""

_LOSE: Final = """
-- Whether an entry of the log is as a streamer writes it; nothing can be told of another.
local function readable(f)
  return #f == 12 and f[3] == 's' and f[5] == 'e' and f[7] == 'v' and string.match(f[8], '^[1-9]%d*$')
end
-- Events went before they were spent: W0 moves behind them, and the log says so. lost: scope -> last version, epoch.
local function lose(events, position, lost)
  for scope, last in pairs(lost) do
    if last.epoch == redis.call('HGET', position, 'epoch:' .. scope)
        and newer(last.version, redis.call('HGET', position, 'start:' .. scope) or '') then
      redis.call('HSET', position, 'start:' .. scope, last.version)
      redis.call('XADD', events, '*', 't', 'G', 's', scope, 'e', last.epoch, 'v', last.version, 'a', '0', 'r', '')
    end
  end
end
"""

ACQUIRE: Final = (
    _CLOCK
    + _NEWER
    + """
-- KEYS fence, then those of this writer, then all that holds anything of objects; ARGV role, owner, lease ms, token or
-- '', rules of what is never stored ('*': stores no objects), then the types of the first KEYS. {token, 0} or
-- {'', ms that another holds it for, whether that one is of other rules}.
-- Without a token of one's own, the one after that of the last holder, once that one is silent; with one, at once where
-- it is higher: who gave it knows that the holder is another now.
-- A key of another type is nothing that KRM wrote: it goes, as if it had been evicted.
-- What was stored under other rules goes once none of its writers is left: none of it can be told from what is allowed.
local now, types = now_ms(), #ARGV - 5
for i = 1, types do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'none' and kind ~= ARGV[5 + i] then redis.call('DEL', KEYS[i]) end
end
local held = redis.call('HGET', KEYS[1], ARGV[1])
local token, last = ARGV[4], '0'
if held then
  local owner, number, deadline = string.match(held, '^(.*):(%d+) (%d+)$')
  if owner then
    local left = tonumber(deadline) - now
    if owner ~= ARGV[2] and left > 0 and not newer(token, number) then return {'', left, 0} end
    last = number
  end
end
if ARGV[5] ~= '*' and ARGV[5] ~= (redis.call('HGET', KEYS[1], 'rules') or '') then
  for _, role in ipairs({'streamer', 'verifier', 'aggregator'}) do
    local left = (tonumber(string.match(redis.call('HGET', KEYS[1], role) or '', ' (%d+)$')) or 0) - now
    if role ~= ARGV[1] and left > 0 then return {'', left, 1} end
  end
  if #KEYS == types then return {'', 50, 1} end  -- they changed just now: what to remove was not looked up
  for i = types + 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
  redis.call('HSET', KEYS[1], 'rules', ARGV[5])
end
if token == '' then token = string.format('%.0f', tonumber(last) + 1) end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%s:%s %d', ARGV[2], token, now + ARGV[3]))
return {token, 0}
"""
)

BEAT: Final = (
    _CLOCK
    + _HOLD
    + """
-- KEYS fence, status; ARGV role, holder or '', lease ms, status. 1 if the fence still stands, and the time.
-- Who holds nothing says nothing over the head of who does.
local now, standing, speaks = now_ms(), 1, true
if ARGV[2] == '' then
  local held = redis.call('HGET', KEYS[1], ARGV[1])
  speaks = not held or (tonumber(string.match(held, ' (%d+)$')) or 0) <= now
else
  if hold(ARGV[1], ARGV[2]) then
    redis.call('HSET', KEYS[1], ARGV[1], string.format('%s %d', ARGV[2], now + ARGV[3]))
  else
    standing = 0
  end
end
if standing == 1 and speaks then redis.call('HSET', KEYS[2], ARGV[1], ARGV[4], ARGV[1] .. ':at', now) end
return {standing, now}
"""
)

RELEASE: Final = (
    _HOLD
    + """
-- KEYS fence; ARGV role, holder. The token stays, so that the next holder gets a higher one.
if hold(ARGV[1], ARGV[2]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' 0') end
return 1
"""
)

APPEND: Final = (
    _HOLD
    + _NEWER
    + _LOSE
    + """
-- KEYS fence, events, position, delays; ARGV holder, scope, epoch, expected W, new W, most entries, then per entry
-- type (A M D B G), version, received ms, record. G, a gap or a start, comes first in its batch and sets W0.
-- S (its record: a delay sample, its version: how many are kept) goes to delays, which must never fail the rest.
-- How many samples were lost: pushed out by these, or not taken.
if not hold('streamer', ARGV[1]) then return redis.error_reply('KRMFENCED streamer') end
local scope, epoch, most = ARGV[2], ARGV[3], tonumber(ARGV[6])
if ARGV[7] ~= 'G' then
  if redis.call('HGET', KEYS[3], 'end:' .. scope) ~= ARGV[4] then return redis.error_reply('KRMOUTOFSTEP position') end
  if redis.call('EXISTS', KEYS[2]) == 0 then
    redis.call('DEL', KEYS[3])  -- the log is lost, so the stream is gap-free on nothing
    return redis.error_reply('KRMOUTOFSTEP events')
  end
end
local kept, untaken = 0, 0
for i = 7, #ARGV, 4 do
  if ARGV[i] == 'S' then
    local added = redis.pcall('XADD', KEYS[4], '*', 'd', ARGV[i + 3])
    if type(added) == 'table' and added.err then untaken = untaken + 1 else kept = tonumber(ARGV[i + 1]) end
  else
    redis.call('XADD', KEYS[2], '*', 't', ARGV[i], 's', scope, 'e', epoch, 'v', ARGV[i + 1],
      'a', ARGV[i + 2], 'r', ARGV[i + 3])
  end
end
if ARGV[7] == 'G' then redis.call('HSET', KEYS[3], 'start:' .. scope, ARGV[8], 'epoch:' .. scope, epoch) end
redis.call('HSET', KEYS[3], 'end:' .. scope, ARGV[5])
local length = redis.call('XLEN', KEYS[2])
if length > most then
  local surplus = length - math.floor(most * 0.99)
  local lost = {}
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', surplus)) do
    local f = entry[2]
    if readable(f) then lost[f[4]] = {version = f[8], epoch = f[6]} end
  end
  redis.call('XTRIM', KEYS[2], 'MAXLEN', '=', length - surplus)
  lose(KEYS[2], KEYS[3], lost)
end
if kept > 0 and redis.call('XLEN', KEYS[4]) > kept then
  untaken = untaken + redis.call('XTRIM', KEYS[4], 'MAXLEN', '=', math.floor(kept * 0.99))
end
return untaken
"""
)

TRIM: Final = (
    _HOLD
    + _NEWER
    + _LOSE
    + """
-- KEYS fence, events, position; ARGV holder, most, cursor, ms of its oldest list, then scope, epoch, L, ... of the
-- table. Drops leading entries, up to the cursor of their reader, that an installed list has seen, those of an older
-- history, and those of scopes that the table does not have. How many it dropped.
if not hold('streamer', ARGV[1]) then return redis.error_reply('KRMFENCED streamer') end
local listed, epochs, lost = {}, {}, {}
for i = 5, #ARGV, 3 do epochs[ARGV[i]] = ARGV[i + 1] listed[ARGV[i]] = ARGV[i + 2] end
local entries = redis.call('XRANGE', KEYS[2], '-', ARGV[3], 'COUNT', ARGV[2])
local spent = 0
for _, entry in ipairs(entries) do
  local f = entry[2]
  local scope, epoch, version = f[4], f[6], f[8]
  if not readable(f) then
    -- Whatever it was, lists that began after it have seen it.
    if tonumber(string.match(entry[1], '^%d+')) >= tonumber(ARGV[4]) then break end
  elseif not listed[scope] then
    lost[scope] = {version = version, epoch = epoch}
  elseif epoch == epochs[scope] then
    if newer(version, listed[scope]) then break end
  elseif redis.call('HGET', KEYS[3], 'epoch:' .. scope) ~= epochs[scope] then
    break  -- the table is behind: this may be the history that it comes to next
  end
  spent = spent + 1
end
if spent > 0 then
  if spent == #entries then
    redis.call('XTRIM', KEYS[2], 'MINID', '=', entries[spent][1])
    redis.call('XDEL', KEYS[2], entries[spent][1])
  else
    redis.call('XTRIM', KEYS[2], 'MINID', '=', entries[spent + 1][1])
  end
  lose(KEYS[2], KEYS[3], lost)
end
return spent
"""
)

FLIP: Final = (
    _HOLD
    + _NEWER
    + """
-- KEYS fence, verified, lists, chunks..., chunks of the list before...; ARGV holder, scope, epoch, L, header, number of
-- chunks, name of the list before, seconds that its chunks stay.
if not hold('verifier', ARGV[1]) then return redis.error_reply('KRMFENCED verifier') end
local known, head = pcall(cjson.decode, redis.call('HGET', KEYS[2], ARGV[2]) or '')
known = known and type(head) == 'table'
if known and head.epoch == ARGV[3] and newer(tostring(head.listed_at), ARGV[4]) then
  return redis.error_reply('KRMOUTOFSTEP a newer list is installed')
end
local count = tonumber(ARGV[6])
for i = 4, 3 + count do
  if redis.call('EXISTS', KEYS[i]) == 0 then return redis.error_reply('KRMOUTOFSTEP a chunk is gone') end
end
for i = 4, 3 + count do redis.call('PERSIST', KEYS[i]) end
if known and head.listing == ARGV[7] then
  for i = 4 + count, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[8]) end
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[5])
redis.call('XADD', KEYS[3], 'MAXLEN', '=', 64, '*', 's', ARGV[2], 'h', ARGV[5])
return 1
"""
)

_CHANGE: Final = """
local seq, last = tonumber(ARGV[3]), ''
-- Appends the next change; of a deletion without a record the one before stands in, as its end was not seen.
local function change(changes, kind, uid, version, record, before)
  local unseen = '0'
  if kind == 'DELETED' and record == '' then record = before unseen = '1' end
  seq = seq + 1
  last = redis.call('XADD', changes, '*', 't', kind, 'u', uid, 'v', version, 'r', record, 'p', before,
    'n', string.format('%d', seq), 'x', unseen)
end
local function drift(lines, record)
  redis.call('XADD', lines, 'MAXLEN', '~', ARGV[6], '*', 'd', record)
end
-- Sets the head behind the changes, and drops those that are too many or too old.
local function settle(table, changes, now, fields)
  redis.call('HSET', table, 'at', now, 'seq', string.format('%d', seq), unpack(ARGV, 8, 7 + fields))
  if last ~= '' then
    redis.call('HSET', table, 'change', last)
    redis.call('XTRIM', changes, 'MAXLEN', '~', ARGV[4])
    redis.call('XTRIM', changes, 'MINID', '~', string.format('%d', now - ARGV[5]))
  end
  return {string.format('%d', seq), last, now}
end
"""

APPLY: Final = (
    _CLOCK
    + _HOLD
    + _CHANGE
    + """
-- KEYS fence, table, objects, changes, drift; ARGV holder, run, expected seq, most changes, retention ms, drift most,
-- n, n head fields and values, then per operation: kind, uid, version, record.
--   ADDED MODIFIED DELETED: a change (DELETED with an empty record: the record before stands in, its end was not seen)
--   PUT: a row without a change, while a table is built anew;   DRIFT: a line of the drift (in record)
if not hold('aggregator', ARGV[1]) then return redis.error_reply('KRMFENCED aggregator') end
local head = redis.call('HMGET', KEYS[2], 'run', 'seq', 'rows')
if (head[1] or '') ~= ARGV[2] or (head[2] or '') ~= ARGV[3] then return redis.error_reply('KRMOUTOFSTEP table') end
if redis.call('HLEN', KEYS[3]) ~= tonumber(head[3] or 0) then return redis.error_reply('KRMOUTOFSTEP objects') end
local now = now_ms()
local fields = tonumber(ARGV[7])
for i = 8 + fields, #ARGV, 4 do
  local kind, uid, version, record = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if kind == 'DRIFT' then
    drift(KEYS[5], record)
  elseif kind == 'PUT' then
    redis.call('HSET', KEYS[3], uid, record)
  else
    local before = redis.call('HGET', KEYS[3], uid) or ''
    if kind == 'DELETED' then redis.call('HDEL', KEYS[3], uid) else redis.call('HSET', KEYS[3], uid, record) end
    change(KEYS[4], kind, uid, version, record, before)
  end
end
return settle(KEYS[2], KEYS[4], now, fields)
"""
)

LOG: Final = (
    _CLOCK
    + _HOLD
    + _CHANGE
    + """
-- APPLY for a table over several shards, whose rows follow by PLACE. KEYS fence, table, changes, drift; ARGV as of
-- APPLY, but per operation: kind, uid, version, record, record before. All rows up to the expected seq are in place.
if not hold('aggregator', ARGV[1]) then return redis.error_reply('KRMFENCED aggregator') end
local head = redis.call('HMGET', KEYS[2], 'run', 'seq', 'change')
if (head[1] or '') ~= ARGV[2] or (head[2] or '') ~= ARGV[3] then return redis.error_reply('KRMOUTOFSTEP table') end
local now = now_ms()
local fields = tonumber(ARGV[7])
for i = 8 + fields, #ARGV, 5 do
  local kind, uid, version, record, before = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if kind == 'DRIFT' then
    drift(KEYS[4], record)
  elseif kind ~= 'PUT' then
    change(KEYS[3], kind, uid, version, record, before)
  end
end
redis.call('HSET', KEYS[2], 'applied_seq', ARGV[3], 'applied_change', head[3] or '0-0')
return settle(KEYS[2], KEYS[3], now, fields)
"""
)

PLACE: Final = """
-- Rows of one shard. KEYS applied, objects; ARGV run, seq that it has, seq that it gets, then uid, record ('': gone).
local stands = redis.call('HMGET', KEYS[1], 'run', 'seq', 'rows')
if stands[1] ~= ARGV[1] or stands[2] ~= ARGV[2] then return redis.error_reply('KRMOUTOFSTEP shard') end
if redis.call('HLEN', KEYS[2]) ~= tonumber(stands[3]) then return redis.error_reply('KRMOUTOFSTEP rows of a shard') end
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[2], ARGV[i])
  else
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
redis.call('HSET', KEYS[1], 'seq', ARGV[3], 'rows', redis.call('HLEN', KEYS[2]))
return 1
"""

STAND: Final = """
-- Where a shard stands: {run, seq}. KEYS applied, objects. A key of another type is nothing that KRM wrote: it goes.
for i = 1, 2 do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'none' and kind ~= 'hash' then redis.call('DEL', KEYS[i]) end
end
local stands = redis.call('HMGET', KEYS[1], 'run', 'seq')
return {stands[1] or '', stands[2] or ''}
"""

CLEAR: Final = """
-- An empty shard of a new life of the table. KEYS applied, objects; ARGV run.
redis.call('UNLINK', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'run', ARGV[1], 'seq', '0', 'rows', '0')
return 1
"""

BEGIN: Final = (
    _CLOCK
    + _HOLD
    + """
-- KEYS fence, table, objects, changes; ARGV holder, new run, shards, rules of what is never stored. Withdraws the table
-- and begins another life of it.
if not hold('aggregator', ARGV[1]) then return redis.error_reply('KRMFENCED aggregator') end
redis.call('DEL', KEYS[2])
redis.call('UNLINK', KEYS[3], KEYS[4])
redis.call('HSET', KEYS[2], 'run', ARGV[2], 'seq', '0', 'state', 'building', 'at', now_ms())
if ARGV[3] ~= '1' then redis.call('HSET', KEYS[2], 'shards', ARGV[3]) end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[2], 'rules', ARGV[4]) end
return 1
"""
)

TAKE: Final = (
    _HOLD
    + """
-- KEYS fence, delays; ARGV holder, most. The oldest samples that were taken and never settled, else the next ones;
-- {id, {name, value}}, with {} for one that was pushed out meanwhile. The group is made where it is missing.
if not hold('collector', ARGV[1]) then return redis.error_reply('KRMFENCED collector') end
local function read(from)
  local found = redis.pcall('XREADGROUP', 'GROUP', 'collector', 'collector', 'COUNT', ARGV[2], 'STREAMS', KEYS[2], from)
  if not found then return {} end
  if found.err then return found end
  return found[1][2]
end
local taken = read('0')
if taken.err and string.find(taken.err, 'NOGROUP') then
  redis.call('XGROUP', 'CREATE', KEYS[2], 'collector', '0', 'MKSTREAM')
  taken = read('0')
end
if #taken == 0 and not taken.err then taken = read('>') end
return taken
"""
)

SETTLE: Final = (
    _HOLD
    + """
-- KEYS fence, delays; ARGV holder, ids... Forgets samples that are in the delay store; how many are left.
if not hold('collector', ARGV[1]) then return redis.error_reply('KRMFENCED collector') end
for i = 2, #ARGV do
  redis.call('XACK', KEYS[2], 'collector', ARGV[i])
  redis.call('XDEL', KEYS[2], ARGV[i])
end
return redis.call('XLEN', KEYS[2])
"""
)
