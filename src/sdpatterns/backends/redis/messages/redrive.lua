-- queue-redrive/1
-- ARGV, behind those of the prelude: ids
-- -> for each whether it was there
local ids, answers = {}, { #old }
for i = 5, #ARGV do ids[#ids + 1] = ARGV[i] end
learn(ids)
for i, id in ipairs(ids) do
  local m = records[id]
  local is_there = is_parked(id, m)
  if is_there then
    lift(id, m)
    m[HOW], m[ATTEMPT], m[REASON], m[DUE] = '-', 0, nil, tick()
    enter(id, m)
  end
  answers[i + 1] = is_there and 1 or 0
end
finish()
return answers
