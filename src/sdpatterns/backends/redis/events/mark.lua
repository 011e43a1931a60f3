-- log-mark/1
-- ARGV: up to which position all events are to be dropped
-- -> up to which they are
local upto = math.min(tonumber(ARGV[1]), meta('position'))
if upto > meta('trimmed') then call('HSET', META, 'trimmed', whole(upto)) end
return upto
