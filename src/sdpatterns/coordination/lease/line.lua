-- The steps of decision.py, for a server. Whole numbers cross as decimal text.
--   args: 'ask',   who, lease, permits, slots, alive (0: no place in the line), longest line, topic
--                                                 -> what became of it, fence, time left
--         'renew', who, fence, lease              -> '1' or '0'
--         'leave', who, slots, topic              -> '1' or '0', then who, fence and lease of each that was served
-- The line stays text: a step looks at its head, and at one place that it finds by name.

local match, find, sub = string.match, string.find, string.sub

local function whole(number) return string.format('%.0f', number) end

local function read(state)
  if not state then return 0, {}, '' end
  local fence, held, queue = match(state, '^%d+:(%d+) ([^|]*)|(.*)$')
  if not fence then error('not a line of permits') end
  local holders = {}
  for who, permits, mark, ends in string.gmatch(held, ';([^:;]+):(%d+):(%d+):(%d+)') do
    holders[#holders + 1] = { who, tonumber(permits), mark, tonumber(ends) }
  end
  return tonumber(fence), holders, queue
end

local function written(fence, holders, queue)
  local held = {}
  for i, one in ipairs(holders) do
    held[i] = ';' .. one[1] .. ':' .. whole(one[2]) .. ':' .. one[3] .. ':' .. whole(one[4])
  end
  return '1:' .. whole(fence) .. ' ' .. table.concat(held) .. '|' .. queue
end

local function alive(holders, now)
  local left = {}
  for _, one in ipairs(holders) do
    if one[4] > now then left[#left + 1] = one end
  end
  return left
end

local function fits(holders, permits, slots)
  local taken = 0
  for _, one in ipairs(holders) do taken = taken + one[2] end
  return #holders == 0 or taken + permits <= slots
end

local function next_fence(fence, now) return fence >= now and fence + 1 or now end

-- Serves the head of the line; returns the fence, the line that is left, and what was given.
local function serve(fence, holders, queue, slots, now)
  local granted, at = {}, 1
  while at <= #queue do
    local who, permits, ends, lease, after = match(queue, '^;([^:]+):(%d+):(%d+):(%d+)()', at)
    if tonumber(ends) > now then
      if not fits(holders, tonumber(permits), slots) then break end
      fence = next_fence(fence, now)
      holders[#holders + 1] = { who, tonumber(permits), whole(fence), now + tonumber(lease) }
      granted[#granted + 1] = { who, whole(fence), lease }
    end
    at = after
  end
  return fence, sub(queue, at), granted
end

local function kept(fence, holders, queue, now)
  local last = math.max(fence, now)
  for _, one in ipairs(holders) do last = math.max(last, one[4]) end
  for ends in string.gmatch(queue, ';[^:]+:%d+:(%d+)') do last = math.max(last, tonumber(ends)) end
  return math.ceil((last - now + 1000000) / 1000)
end

local function topics(granted, me, topic, changed)
  local woken = {}
  for _, one in ipairs(granted) do
    if one[1] ~= me then woken[#woken + 1] = 'inbox/' .. one[1] end
  end
  if topic ~= '' and changed then woken[#woken + 1] = topic end
  return woken
end

local function soonest(holders, now)
  local first = holders[1][4]
  for _, one in ipairs(holders) do first = math.min(first, one[4]) end
  return first - now
end

local function length(queue)
  local _, count = string.gsub(queue, ';', '')
  return count
end

local function without_the_dead(queue, now)
  return (string.gsub(queue, ';[^:]+:%d+:(%d+):%d+', function(ends)
    if tonumber(ends) <= now then return '' end
  end))
end

local function ask(state, now, args)
  local me, lease, permits, slots = args[2], tonumber(args[3]), tonumber(args[4]), tonumber(args[5])
  local patience, most, topic = tonumber(args[6]), tonumber(args[7]), args[8]
  local fence, holders, queue = read(state)
  for _, one in ipairs(holders) do
    if one[1] == me and one[4] > now then return { false }, { 'h', one[3], whole(one[4] - now) }, { 0 }, {} end
  end
  holders = alive(holders, now)
  local mark = ';' .. me .. ':'
  local place, named = find(queue, mark, 1, true)
  if place and patience > 0 then
    local head, rest = match(queue, '^(%d+:)%d+(.*)$', named + 1)
    queue = sub(queue, 1, named) .. head .. whole(now + patience) .. rest
  end
  local granted, turn
  fence, queue, granted = serve(fence, holders, queue, slots, now)
  for _, one in ipairs(granted) do
    if one[1] == me then turn = { 'h', one[2], one[3] } end
  end
  local stands = place and not turn and find(queue, mark, 1, true)
  if not turn and not stands then
    if queue == '' and fits(holders, permits, slots) then
      fence = next_fence(fence, now)
      holders[#holders + 1] = { me, permits, whole(fence), now + lease }
      turn = { 'h', whole(fence), whole(lease) }
    elseif patience == 0 then
      turn = { 'b', whole(fence), whole(soonest(holders, now)) }
    else
      if length(queue) >= most then queue = without_the_dead(queue, now) end
      if length(queue) >= most then
        turn = { 'f', whole(fence), whole(soonest(holders, now)) }
      else
        queue = queue .. mark .. whole(permits) .. ':' .. whole(now + patience) .. ':' .. whole(lease)
      end
    end
  end
  if not turn then
    local sleep = math.max(math.floor(patience / 3), 1)
    if sub(queue, 1, #mark) == mark then sleep = math.min(sleep, soonest(holders, now)) end
    turn = { 'w', whole(fence), whole(sleep) }
  end
  local after = written(fence, holders, queue)
  if after == (state or '1:0 |') then return { false }, turn, { 0 }, {} end
  local changed = #granted > 0 or turn[1] == 'h'
  return { after }, turn, { kept(fence, holders, queue, now) }, topics(granted, me, topic, changed)
end

local function renew(state, now, args)
  local fence, holders, queue = read(state)
  for _, one in ipairs(holders) do
    if one[1] == args[2] and one[3] == args[3] then
      one[4] = math.max(one[4], now + tonumber(args[4]))
      return { written(fence, holders, queue) }, { '1' }, { kept(fence, holders, queue, now) }, {}
    end
  end
  return { false }, { '0' }, { 0 }, {}
end

local function leave(state, now, args)
  local me, slots, topic = args[2], tonumber(args[3]), args[4]
  local fence, holders, queue = read(state)
  local others, held = {}, false
  for _, one in ipairs(holders) do
    if one[1] == me then held = true else others[#others + 1] = one end
  end
  local place, named = find(queue, ';' .. me .. ':', 1, true)
  if not held and not place then return { false }, { '0' }, { 0 }, {} end
  if place then queue = sub(queue, 1, place - 1) .. match(queue, '^%d+:%d+:%d+(.*)$', named + 1) end
  holders = alive(others, now)
  local granted
  fence, queue, granted = serve(fence, holders, queue, slots, now)
  local answer = { held and '1' or '0' }
  for _, one in ipairs(granted) do
    for i = 1, 3 do answer[#answer + 1] = one[i] end
  end
  local woken = topics(granted, me, topic, held or #granted > 0)
  if #holders == 0 and queue == '' and fence < now then return { true }, answer, { 0 }, woken end
  return { written(fence, holders, queue) }, answer, { kept(fence, holders, queue, now) }, woken
end

local steps = { ask = ask, renew = renew, leave = leave }

return function(states, now, args) return steps[args[1]](states[1] or nil, now, args) end
