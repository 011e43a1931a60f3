-- log-append/1
-- ARGV: shift of time, channel and message of the log's signal; then for each append, in the order of KEYS: the stream,
-- the version expected (-1 for any), how many events, and for each of these id, type, body
-- -> for each append: 1, version, position where it is there now; else 0, version found, 0
local time = call('TIME')
local now = math.max(time[1] * 1000000 + time[2] + ARGV[1], meta('now'))
local position = meta('position')
local before, answer, at = position, {}, 4

-- The position of the last event, where this very append has happened before.
local function done_before(key, expected, n, first)
  local there = call('XRANGE', key, whole(expected + 1) .. '-0', whole(expected + n), 'COUNT', n)
  if #there < n then return nil end
  local last
  for i = 1, n do
    local version, place = parts(there[i][1])
    local entry = call('XRANGE', ALL, whole(place) .. '-0', whole(place) .. '-0')[1]
    if version ~= expected + i or not entry or entry[2][6] ~= ARGV[first + 3 * (i - 1)] then return nil end
    last = place
  end
  return last
end

for k = 4, #KEYS do
  local stream, expected, n = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local version, first = tonumber(call('HGET', VERSIONS, stream) or '0'), at + 3
  if expected == -1 or expected == version then
    for i = 0, n - 1 do
      local e = first + 3 * i
      position, version = position + 1, version + 1
      call('XADD', ALL, whole(position) .. '-0', 's', stream, 'v', whole(version), 'i', ARGV[e], 't', ARGV[e + 1],
        'r', whole(now), 'b', ARGV[e + 2])
      call('XADD', KEYS[k], whole(version) .. '-' .. whole(position), '', '')
    end
    call('HSET', VERSIONS, stream, whole(version))
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = 1, version, position
  else
    local place = expected < version and done_before(KEYS[k], expected, n, first)
    answer[#answer + 1] = place and 1 or 0
    answer[#answer + 1] = place and expected + n or version
    answer[#answer + 1] = place or 0
  end
  at = first + 3 * n
end
if position > before then
  call('HSET', META, 'position', whole(position), 'now', whole(now))
  -- A signal is a hint, and its refusal would say that the step has not happened.
  redis.pcall('PUBLISH', ARGV[2], ARGV[3])
end
return answer
