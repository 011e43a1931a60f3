-- queue-parked/1
-- ARGV, behind those of the prelude: how many, behind which position
-- -> for each: position, id, body, key, tenant, attempt, reason, published
finish()
local after = max(tonumber(ARGV[6]), oldest)
local there = call('ZRANGEBYSCORE', PARKED, '(' .. text('%.0f', after), '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[5])
local ids, answer = {}, { #old }
for i = 1, #there, 2 do ids[#ids + 1] = there[i] end
learn(ids)
local bodies = found(BODY, ids)
for i, id in ipairs(ids) do
  local m = records[id]
  for _, word in ipairs({ tonumber(there[2 * i]), id, bodies[i], m[KEY], m[TENANT], m[ATTEMPT], m[REASON], m[PUBLISHED] }) do
    answer[#answer + 1] = word
  end
end
return answer
