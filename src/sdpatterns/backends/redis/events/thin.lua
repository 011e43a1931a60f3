-- log-thin/1
-- ARGV: up to which version the events of one stream are to be dropped; how many at most
-- -> how many were
local places = call('XRANGE', KEYS[4], '-', whole(tonumber(ARGV[1])), 'COUNT', ARGV[2])
if #places == 0 then return 0 end
local ids, version, place = {}, nil, nil
for i = 1, #places do
  version, place = parts(places[i][1])
  ids[i] = whole(place) .. '-0'
end
if place > meta('thinned') then call('HSET', META, 'thinned', whole(place)) end
local gone = call('XDEL', ALL, unpack(ids))
call('XTRIM', KEYS[4], 'MINID', '=', whole(version + 1))
return gone
