-- queue-withdraw/1
-- ARGV, behind those of the prelude: ids
-- -> for each whether it was there and no worker has it
local ids, answers = {}, { #old }
for i = 5, #ARGV do ids[#ids + 1] = ARGV[i] end
learn(ids)
for i, id in ipairs(ids) do
  local m = records[id]
  local is_waiting = m and m[STATE] ~= 'p' and not is_held(id, m)
  if is_waiting then
    local was_first = m[STATE] ~= 'b'
    lift(id, m)
    forget(id)
    if was_first then let_next(m[KEY]) end
  end
  answers[i + 1] = is_waiting and 1 or 0
end
finish()
return answers
