-- queue-depth/1
-- -> how many are due, wait, are leased and parked, and for how long the earliest has been due
-- The earliest is looked for among the first hundred messages of up to fifty tenants, because a script holds up the server.
local function count(zset, from, to) return call('ZCOUNT', zset, from, to) end

local first = now
for _, zset in ipairs({ DELAYED, LEASES }) do
  first = min(first, tonumber(call('ZRANGE', zset, 0, 0, 'WITHSCORES')[2] or now))
end
for _, tenant in ipairs(call('ZRANGE', RING, 0, 49)) do
  local members = call('ZRANGEBYLEX', READY, '[' .. tenant .. '\0', '(' .. tenant .. '\1', 'LIMIT', 0, 100)
  local ids = {}
  for i, member in ipairs(members) do ids[i] = sub(member, #tenant + 10) end
  learn(ids)
  for _, id in ipairs(ids) do first = min(first, records[id][DUE]) end
end
local later = '(' .. text('%.0f', now)
finish()
return {
  #old,
  call('ZCARD', READY) + count(DELAYED, '-inf', now) + count(LEASES, '-inf', now),
  count(DELAYED, later, '+inf') + call('ZCARD', BEHIND), count(LEASES, later, '+inf'),
  count(PARKED, '(' .. text('%.0f', oldest), '+inf'), now - first,
}
