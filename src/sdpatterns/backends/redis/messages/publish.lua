-- queue-publish/1
-- ARGV, behind those of the prelude, for each message: id, body, key, tenant, delay, rank, whether to replace, a token that
-- is the same when this call is sent again
-- -> for each whether it is in the queue through this call
local ids, answers = {}, { #old }
for i = 5, #ARGV, 8 do ids[#ids + 1] = ARGV[i] end
learn(ids)
local bodies = {}
for i = 5, #ARGV, 8 do
  local id = ARGV[i]
  local m = records[id]
  -- The first reply to this call was lost, and it has published this message then.
  local is_done = is_again and m and m[TOKEN] == tonumber(ARGV[i + 7])
  local is_wanted = not m or (m[STATE] == 'p' and not is_parked(id, m)) or (ARGV[i + 6] == '1' and not is_held(id, m))
  is_wanted = is_wanted and not is_done
  if is_wanted then
    local was_first = m and m[KEY] ~= '' and m[STATE] ~= 'b' and m[STATE] ~= 'p'
    if m then lift(id, m) end
    local at = tick()
    local new = { '', '-', m and m[FENCE] or 0, 0, at + ARGV[i + 4], ARGV[i + 5] + 0, at, 0,
      tonumber(ARGV[i + 7]), ARGV[i + 3], ARGV[i + 2] }
    records[id] = new
    if was_first then let_next(m[KEY]) end
    enter(id, new)
    bodies[#bodies + 1] = id
    bodies[#bodies + 1] = ARGV[i + 1]
  end
  answers[#answers + 1] = (is_wanted or is_done) and 1 or 0
end
all('HSET', BODY, bodies)
finish()
return answers
