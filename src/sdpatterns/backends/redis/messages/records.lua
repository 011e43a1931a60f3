-- queue-records/1: what the verbs of a queue do with records. A server makes these functions anew for each call.

-- A time that nothing else in this queue has: two messages of one call differ by a microsecond.
local function tick()
  clock = clock + 1
  return clock
end

-- Lua hands over 8,000 words at most.
local function all(verb, key, words)
  for i = 1, #words, 4000 do call(verb, key, unpack(words, i, min(i + 3999, #words))) end
end

local function found(hash, ids)
  if #ids <= 4000 then return #ids > 0 and call('HMGET', hash, unpack(ids)) or {} end
  local values = {}
  for i = 1, #ids, 4000 do
    for _, value in ipairs(call('HMGET', hash, unpack(ids, i, min(i + 3999, #ids)))) do values[#values + 1] = value end
  end
  return values
end

local function number(value) return pack('>d', value) end

-- A record as a table and back.
local function opened(value)
  local m = { open(FORM, value) }
  local bar = find(value, '\0', TAIL, true)
  local second = find(value, '\0', bar + 1, true)
  m[TENANT], m[KEY] = sub(value, TAIL, bar - 1), sub(value, bar + 1, (second or 0) - 1)
  m[REASON] = second and sub(value, second + 1)
  return m
end

local function packed(m)
  local tail = m[TENANT] .. '\0' .. m[KEY]
  if m[REASON] then tail = tail .. '\0' .. m[REASON] end
  return pack(FORM, m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], m[9]) .. tail
end

-- The records that this call has read or made; false where there is none.
local records, changed, is_changed = {}, {}, {}

local function learn(ids)
  for i, value in ipairs(found(META, ids)) do records[ids[i]] = value and opened(value) end
end

local function keep(id)
  if not is_changed[id] then
    is_changed[id] = true
    changed[#changed + 1] = id
  end
end

local function ready_member(id, m)
  return m[TENANT] .. '\0' .. number(max(0, m[DUE] + m[RANK])) .. id
end

local function behind_member(id, m)
  return m[KEY] .. '\0' .. number(m[NUMBER]) .. id
end

local wakes = true
local ready, tenants, delayed, earliest = {}, {}, {}, math.huge

-- Let a message be claimed as soon as it is due. No other one of its key is before it.
local function offer(id, m)
  if m[DUE] <= clock then
    m[STATE] = 'r'
    ready[#ready + 1] = '0'
    ready[#ready + 1] = ready_member(id, m)
    if not tenants[m[TENANT]] then
      tenants[m[TENANT]] = true
      tenants[#tenants + 1] = m[TENANT]
    end
  else
    m[STATE] = 'd'
    earliest = min(earliest, m[DUE])
    delayed[#delayed + 1] = m[DUE]
    delayed[#delayed + 1] = id
  end
  keep(id)
end

-- Put a message at the end of its key, or offer it where it is the first.
local function enter(id, m)
  if m[KEY] ~= '' then
    if call('HSETNX', HEADS, m[KEY], id) == 0 then
      m[STATE], m[NUMBER] = 'b', tick()
      call('ZADD', BEHIND, '0', behind_member(id, m))
      keep(id)
      return
    end
  end
  offer(id, m)
end

-- The first message of a key is gone: the next one is offered.
local function let_next(key)
  if key == '' then return end
  local member = call('ZRANGEBYLEX', BEHIND, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', 0, 1)[1]
  if not member then
    call('HDEL', HEADS, key)
    return
  end
  local id = sub(member, #key + 10)
  -- Removed before anything is added: a full server refuses a script only while it has changed nothing.
  call('ZREM', BEHIND, member)
  call('HSET', HEADS, key, id)
  if not records[id] then learn({ id }) end
  offer(id, records[id])
end

-- Write the records, and what was offered.
local function flush()
  local words = {}
  for i = 1, #changed do
    local m = records[changed[i]]
    if m then
      words[#words + 1] = changed[i]
      words[#words + 1] = packed(m)
    end
  end
  all('HSET', META, words)
  all('ZADD', READY, ready)
  for i = 1, #tenants do call('ZADD', RING, 'NX', tick(), tenants[i]) end
  -- A worker that waits knows when the earliest of what was to come is due.
  for _, key in ipairs(#delayed > 0 and { DELAYED, LEASES } or {}) do
    local first = tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
    if first and first <= earliest then earliest = math.huge end
  end
  all('ZADD', DELAYED, delayed)
  if wakes and (#ready > 0 or earliest < math.huge) then
    wakes = false
    -- A signal is a hint, and its refusal would say that the step has not happened.
    redis.pcall('PUBLISH', channel, fragment)
  end
  changed, is_changed, ready, tenants, delayed, earliest = {}, {}, {}, {}, {}, math.huge
end

-- Remove a message from where it stands; its record and its body remain.
local function lift(id, m)
  local state = m[STATE]
  if is_changed[id] then flush() end
  if state == 'l' then
    call('ZREM', LEASES, id)
  elseif state == 'd' then
    call('ZREM', DELAYED, id)
  elseif state == 'p' then
    call('ZREM', PARKED, id)
  elseif state == 'b' then
    call('ZREM', BEHIND, behind_member(id, m))
  else
    local tenant = m[TENANT]
    call('ZREM', READY, ready_member(id, m))
    if #call('ZRANGEBYLEX', READY, '[' .. tenant .. '\0', '(' .. tenant .. '\1', 'LIMIT', 0, 1) == 0 then
      call('ZREM', RING, tenant)
    end
  end
end

local gone = {}

-- Forget messages, with all of their data.
local function forget(id)
  gone[#gone + 1] = id
  records[id] = false
end

-- Whether the lease of a message goes on, for those that ask whether a worker has it.
local function is_held(id, m)
  return m[STATE] == 'l' and tonumber(call('ZSCORE', LEASES, id)) > now
end

-- A message stays its worker's until it is handed out again.
local function is_mine(m, fence)
  return m and m[FENCE] == fence and (m[STATE] == 'l' or (m[STATE] == 'r' and m[HOW] == 'e'))
end

-- To be called before the end; what it writes is nothing where nothing has changed.
local function finish()
  flush()
  all('HDEL', META, gone)
  all('HDEL', BODY, gone)
  local is_less = #gone > 0 or #old > 0
  if is_less and call('EXISTS', META) == 0 then
    -- Nothing is left to keep the time for. Not at once, for clocks that disagree after a failover.
    call('SET', LAST, text('%.0f', clock), 'PX', 5000)
  elseif is_less or clock > now then
    call('SET', LAST, text('%.0f', clock))
  end
end

-- A dead letter that was kept for long enough is none, also before its turn to be dropped.
local function is_parked(id, m)
  return m and m[STATE] == 'p' and tonumber(call('ZSCORE', PARKED, id) or 0) > oldest
end

-- So many of them are dropped in each call, and at once, because this call may publish one of them.
for _, key in ipairs({ PARKED, META, BODY }) do all(key == PARKED and 'ZREM' or 'HDEL', key, old) end
