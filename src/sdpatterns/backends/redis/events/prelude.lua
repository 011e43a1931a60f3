-- log-prelude/1: what all verbs of a log share. Their KEYS begin with these, all under one hash tag; then come the
-- streams that the call is about, one key each.
--   meta      hash: position (the last one given out), trimmed, thinned, now (the newest time that the log has used)
--   versions  hash: stream -> its newest version
--   all       stream: position-0 -> s(tream), v(ersion), i(d), t(ype), r(ecorded), b(ody)
--   a stream  stream: version-position -> nothing of value; it says where the event stands in `all`
-- An event is kept once, in `all`. A cluster refuses a key that was not declared, and there is none here.
local call, text = redis.call, string.format
local META, VERSIONS, ALL = KEYS[1], KEYS[2], KEYS[3]

local function whole(number) return text('%.0f', number) end

local function meta(field) return tonumber(call('HGET', META, field) or '0') end

-- The parts of an id of a stream: version and position, or position and 0.
local function parts(id)
  local first, second = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(first), tonumber(second)
end

-- What is kept of the event at a position: position, then stream, version, id, type, recorded, body.
local function give(answer, entry)
  local fields = entry[2]
  answer[#answer + 1] = (parts(entry[1]))
  for i = 2, 12, 2 do answer[#answer + 1] = fields[i] end
end
