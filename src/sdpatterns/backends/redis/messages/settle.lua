-- queue-settle/1
-- ARGV, behind those of the prelude, for each claim: how it ends, id, fence, when its lease was to end, and
--   'c'(ompleted)
--   'r'(equeued): after how long, whether the attempt counts, the new body or nothing
--   'p'(arked): the reason
-- -> for each whether it still was this worker's, or had been settled so by it
local SIZES = { c = 4, r = 7, p = 5 }
local ids, answers, i = {}, { #old }, 5
while ARGV[i] do
  ids[#ids + 1] = ARGV[i + 1]
  i = i + SIZES[ARGV[i]]
end
local values = found(META, ids)

-- Whether this call has settled this claim already, and its reply was lost.
local function was_settled_so(m, how, fence, ended)
  if m then return m[FENCE] == fence and m[HOW] == how end
  -- It is gone before its lease has ended, so that no other worker can have had it.
  return how == 'c' and is_again and now < ended
end

local leases, bodies, parked = {}, {}, {}
local function settle(i, how, id, m)
  if m[STATE] == 'l' then leases[#leases + 1] = id else lift(id, m) end
  if how == 'r' then
    m[HOW], m[DUE] = how, tick() + ARGV[i + 4]
    if ARGV[i + 5] == '0' then m[ATTEMPT] = m[ATTEMPT] - 1 end
    if ARGV[i + 6] ~= '' then
      bodies[#bodies + 1] = id
      bodies[#bodies + 1] = ARGV[i + 6]
    end
    offer(id, m)
    return
  end
  if how == 'p' then
    m[STATE], m[HOW], m[REASON] = 'p', how, ARGV[i + 4]
    parked[#parked + 1] = tick()
    parked[#parked + 1] = id
    keep(id)
  else
    forget(id)
  end
  let_next(m[KEY])
end

i = 5
for place, id in ipairs(ids) do
  local how, fence, value = ARGV[i], tonumber(ARGV[i + 2]), values[place]
  local m = records[id]
  if m == nil and value then
    local state, _, current = open('>c1c1d', value)
    if how == 'c' and state == 'l' and current == fence and byte(value, -1) == 0 then
      -- The usual end of a message without a key. To open all of its record would cost as much as the rest.
      leases[#leases + 1] = id
      forget(id)
      answers[place + 1] = 1
    else
      m = opened(value)
      records[id] = m
    end
  end
  if not answers[place + 1] then
    local is_ours = is_mine(m, fence)
    if is_ours then settle(i, how, id, m) else is_ours = was_settled_so(m, how, fence, tonumber(ARGV[i + 3])) end
    answers[place + 1] = is_ours and 1 or 0
  end
  i = i + SIZES[how]
end
-- Removed first: a full server refuses a script only while it has changed nothing, and an end makes room.
all('ZREM', LEASES, leases)
all('ZADD', PARKED, parked)
all('HSET', BODY, bodies)
finish()
return answers
