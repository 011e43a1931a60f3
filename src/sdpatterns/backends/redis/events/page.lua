-- log-page/1
-- ARGV: behind which position; how many, which may be none
-- -> the last position given out, trimmed, thinned, then the events
local answer = { meta('position'), meta('trimmed'), meta('thinned') }
if tonumber(ARGV[2]) > 0 then
  local entries = call('XRANGE', ALL, whole(tonumber(ARGV[1]) + 1) .. '-0', '+', 'COUNT', ARGV[2])
  for i = 1, #entries do give(answer, entries[i]) end
end
return answer
