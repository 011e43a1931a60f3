-- queue-claim/1
-- ARGV, behind those of the prelude: how many, the lease, a credit or nothing, whether it is to be left where no message is
-- due, and what may have become of it: 0 (it was not left), 1 (it was left) or 2 (a message was pushed for it, and has come)
-- -> when the next message is due, from now (-1: none waits for its time; -2: a message was pushed for the credit, and for
--    that this claim gives none), when the leases end, and for each message: id, body, record
local wanted, ends = ARGV[5] + 0, now + ARGV[6]
local credit, is_left, before = ARGV[7], ARGV[8] == '1', ARGV[9]
local is_pushed = false
if before == '2' then
  call('ZREM', CREDITS, credit, ' ' .. credit)
elseif before == '1' and call('ZREM', CREDITS, credit) == 0 and call('ZREM', CREDITS, ' ' .. credit) == 1 then
  is_pushed, wanted, is_left = true, 0, false
end
local most = wanted + 100

-- What became due meanwhile becomes ready, so much in each call: messages after their delay or with a lease that is over.
local function ready_from(zset, how)
  local due = call('ZRANGEBYSCORE', zset, '-inf', now, 'WITHSCORES', 'LIMIT', 0, most)
  if #due == 0 then return false end
  local ids = {}
  for i = 1, #due, 2 do ids[#ids + 1] = due[i] end
  learn(ids)
  for i, id in ipairs(ids) do
    local m = records[id]
    m[DUE] = tonumber(due[2 * i])
    if how then m[HOW] = how end
    offer(id, m)
  end
  call('ZREMRANGEBYRANK', zset, 0, #ids - 1)
  return #ids == most
end

local more = ready_from(LEASES, 'e')
more = ready_from(DELAYED) or more
-- Others that wait for these know when they are due.
wakes = false
flush()

local taken, rows = {}, {}
-- Up to so many messages of one tenant; how many, and whether it has more.
local function take(tenant, count)
  local low = '[' .. tenant .. '\0'
  local members = call('ZRANGEBYLEX', READY, low, '(' .. tenant .. '\1', 'LIMIT', 0, count + 1)
  local got, skip, mine = min(#members, count), #tenant + 10, taken[tenant]
  -- They are the first ones, so that one command removes them all.
  if got > 0 then call('ZREMRANGEBYLEX', READY, low, '[' .. members[got]) end
  if not mine then
    mine = {}
    taken[tenant], rows[#rows + 1] = mine, mine
  end
  for i = 1, got do mine[#mine + 1] = sub(members[i], skip) end
  return got, #members > got
end

-- Each tenant gets the same number, and where they do not come out even, those get one more that were served longest ago.
local left = wanted
local turn = left > 0 and call('ZRANGE', RING, 0, left - 1) or {}
local is_shared = #turn > 1 or (#turn == 1 and call('ZCARD', RING) > 1)
while left > 0 and #turn > 0 do
  local each, hungry = max(1, math.floor(left / #turn)), {}
  for i = 1, min(#turn, left) do
    local tenant = turn[i]
    local got, has_more = take(tenant, each)
    left = left - got
    if not has_more then
      call('ZREM', RING, tenant)
    else
      hungry[#hungry + 1] = tenant
      if is_shared then call('ZADD', RING, tick(), tenant) end
    end
  end
  turn = hungry
end

-- One of each tenant after another.
local ids = rows[1] or {}
if #rows > 1 then
  ids = {}
  for place = 1, wanted do
    for _, mine in ipairs(rows) do ids[#ids + 1] = mine[place] end
    if #ids == wanted - left then break end
  end
end

local due = -1
if more or call('ZCARD', RING) > 0 then
  due = 0
else
  -- Before our own leases are among them.
  for _, key in ipairs({ DELAYED, LEASES }) do
    local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    if first and (due < 0 or first - now < due) then due = first - now end
  end
end

if is_pushed then due = -2 end
local answer = { #old, due, ends }
if #ids > 0 then
  local until_then, fence, leases, metas = text('%.0f', ends), tick(), {}, {}
  local values, bodies = found(META, ids), found(BODY, ids)
  for i, id in ipairs(ids) do
    -- Only the head of a record changes. To open all of it would cost as much as the rest of a claim.
    local _, _, before, attempt = open(HEAD, values[i])
    fence = max(fence, before + 1)
    local value = pack(HEAD, 'l', '-', fence, attempt + 1) .. sub(values[i], 19)
    answer[3 * i + 1], answer[3 * i + 2], answer[3 * i + 3] = id, bodies[i], value
    leases[2 * i - 1], leases[2 * i] = until_then, id
    metas[2 * i - 1], metas[2 * i] = id, value
  end
  all('HSET', META, metas)
  all('ZADD', LEASES, leases)
elseif is_left and due ~= 0 then
  -- A full server refuses it, and then the worker is notified as ever. A credit lasts for a minute, used or not.
  redis.pcall('ZADD', CREDITS, now, credit)
  call('ZREMRANGEBYSCORE', CREDITS, '-inf', now - 60000000)
  call('ZREMRANGEBYSCORE', CREDITS, USED, now + USED - 60000000)
  redis.pcall('PEXPIRE', CREDITS, 60000)
end
finish()
return answer
