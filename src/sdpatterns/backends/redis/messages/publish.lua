-- queue-publish/1
-- ARGV, behind those of the prelude, for each message: id, body, key, tenant, delay, rank, whether to replace
-- -> for each whether it is in the queue through this call
local ids, answers = {}, { #old }
for i = 5, #ARGV, 7 do ids[#ids + 1] = ARGV[i] end
learn(ids)
local bodies = {}
for i = 5, #ARGV, 7 do
  local id = ARGV[i]
  local m = records[id]
  local is_wanted = not m or (ARGV[i + 6] == '1' and not is_held(id, m)) or (m[STATE] == 'p' and not is_parked(id, m))
  if is_wanted then
    local was_first = m and m[KEY] ~= '' and m[STATE] ~= 'b' and m[STATE] ~= 'p'
    if m then lift(id, m) end
    local at = tick()
    local new = { '', '-', m and m[FENCE] or 0, 0, at + ARGV[i + 4], ARGV[i + 5] + 0, at, 0, ARGV[i + 3], ARGV[i + 2] }
    records[id] = new
    if was_first then let_next(m[KEY]) end
    enter(id, new)
    bodies[#bodies + 1] = id
    bodies[#bodies + 1] = ARGV[i + 1]
  end
  answers[#answers + 1] = is_wanted and 1 or 0
end
all('HSET', BODY, bodies)
finish()
return answers
