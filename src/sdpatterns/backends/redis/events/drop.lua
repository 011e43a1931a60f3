-- log-drop/1
-- ARGV: up to which position; then for each stream in KEYS the version up to which its events are gone by that
-- -> how many events were dropped
for k = 4, #KEYS do call('XTRIM', KEYS[k], 'MINID', '=', whole(tonumber(ARGV[k - 2]) + 1)) end
return call('XTRIM', ALL, 'MINID', '=', whole(tonumber(ARGV[1]) + 1))
