-- queue-discard/1
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
    forget(id)
  end
  answers[i + 1] = is_there and 1 or 0
end
finish()
return answers
