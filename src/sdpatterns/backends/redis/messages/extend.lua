-- queue-extend/1
-- ARGV, behind those of the prelude, for each claim: id, fence, the lease
-- -> for each whether it still was this worker's
local ids, answers, leases, moved = {}, { #old }, {}, {}
for i = 5, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
learn(ids)
for i, id in ipairs(ids) do
  local m = records[id]
  local is_ours = is_mine(m, tonumber(ARGV[3 * i + 3]))
  if is_ours then
    if m[STATE] == 'r' then
      -- Its lease was over and no other worker has come for it.
      lift(id, m)
      m[STATE], m[HOW] = 'l', '-'
      keep(id)
    end
    leases[#leases + 1] = now + ARGV[3 * i + 4]
    leases[#leases + 1] = id
    moved[#moved + 1] = id
  end
  answers[i + 1] = is_ours and 1 or 0
end
-- Removed first: a full server refuses a script only while it has changed nothing, and a worker has to keep its lease.
all('ZREM', LEASES, moved)
all('ZADD', LEASES, leases)
finish()
return answers
