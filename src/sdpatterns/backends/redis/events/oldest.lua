-- log-oldest/1
-- ARGV: up to which position; how many
-- -> position, stream, version of each event there
local answer = {}
for _, entry in ipairs(call('XRANGE', ALL, '-', whole(tonumber(ARGV[1])) .. '-0', 'COUNT', ARGV[2])) do
  answer[#answer + 1] = (parts(entry[1]))
  answer[#answer + 1] = entry[2][2]
  answer[#answer + 1] = tonumber(entry[2][4])
end
return answer
