-- log-read/1
-- ARGV: the stream; behind which version; how many; 1 for backwards
-- -> its newest version, then the events
local version = tonumber(call('HGET', VERSIONS, ARGV[1]) or '0')
local after, answer = tonumber(ARGV[2]), { version }
local places
if ARGV[4] == '1' then
  -- The last of those before it; 0 stands for the end.
  local from = after == 0 and '+' or after == 1 and nil or whole(after - 1)
  places = from and call('XREVRANGE', KEYS[4], from, '-', 'COUNT', ARGV[3]) or {}
else
  places = call('XRANGE', KEYS[4], whole(after + 1), '+', 'COUNT', ARGV[3])
end
for i = 1, #places do
  local _, place = parts(places[i][1])
  local entry = call('XRANGE', ALL, whole(place) .. '-0', whole(place) .. '-0')[1]
  -- It is gone where a trim of the whole log is under way.
  if entry then give(answer, entry) end
end
return answer
