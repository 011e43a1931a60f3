-- The steps of decision.py, for a server. Whole numbers cross as decimal text.
--   args: 'ask',   who, lease, permits, slots, alive (0: no place in the line), longest line, topic
--                                                 -> what became of it, fence, time left
--         'renew', who, fence, lease, served...   -> '1' or '0'
--         'leave', who, slots, most successors, topic, served...
--                                                 -> '1' or '0', successors, then who, fence and lease of each grant
-- The line stays text: a step looks at its head, and at one place that it finds by name.

local match, find, sub = string.match, string.find, string.sub

-- A caller that is alone: it asks where nothing is held, and gives back where nothing waits. The server makes all
-- functions of a script again for each call, so those of the whole line are made only where they are needed.
local function alone(state, _, args, time)
  local step, who = args[1], args[2]
  if step == 'ask' and not state and args[8] == '' then
    local lease = tonumber(args[3])
    local ends = string.format('%.0f', time + lease)
    local held = ';' .. who .. ':' .. args[4] .. ':' .. time .. ':' .. ends
    return '1:' .. time .. ' ' .. ends .. ' ' .. held .. '|', { 'h', time, args[3] }, math.ceil((lease + 1000000) / 1000)
  elseif step == 'leave' and state and args[5] == '' then
    local fence, holder = match(state, '^1:(%d+) %d+ ;([^:;]+):%d+:%d+:%d+|$')
    if holder == who and tonumber(fence) < time + 0 then return true, { '1', '' }, 0 end
  end
end

local function line_steps()
  local function whole(number) return string.format('%.0f', number) end

  local function read(state)
    if not state then return { fence = 0, ends = 0, holders = {}, queue = '' } end
    local fence, ends, held, queue = match(state, '^%d+:(%d+) (%d+) ([^|]*)|(.*)$')
    if not fence then error('not a line of permits') end
    local holders = {}
    for who, permits, mark, until_us in string.gmatch(held, ';([^:;]+):(%d+):(%d+):(%d+)') do
      holders[#holders + 1] = { who, tonumber(permits), mark, tonumber(until_us) }
    end
    return { fence = tonumber(fence), ends = tonumber(ends), holders = holders, queue = queue }
  end

  local function written(line)
    local held = {}
    for i, one in ipairs(line.holders) do
      held[i] = ';' .. one[1] .. ':' .. whole(one[2]) .. ':' .. one[3] .. ':' .. whole(one[4])
    end
    return '1:' .. whole(line.fence) .. ' ' .. whole(line.ends) .. ' ' .. table.concat(held) .. '|' .. line.queue
  end

  local function alive(holders, now)
    local left = {}
    for _, one in ipairs(holders) do
      if one[4] > now then left[#left + 1] = one end
    end
    return left
  end

  local function fits(line, permits, slots)
    local taken = 0
    for _, one in ipairs(line.holders) do taken = taken + one[2] end
    return #line.holders == 0 or taken + permits <= slots
  end

  local function lasts(line, ends)
    line.ends = math.max(line.ends, ends)
    return ends
  end

  local function grant(line, who, permits, lease, now)
    line.fence = line.fence >= now and line.fence + 1 or now
    local fence = whole(line.fence)
    line.holders[#line.holders + 1] = { who, permits, fence, lasts(line, now + lease) }
    return fence
  end

  -- Serves the head of the line; returns what was given.
  local function serve(line, slots, now)
    local queue, granted, at = line.queue, {}, 1
    while at <= #queue do
      local who, permits, ends, lease, after = match(queue, '^;([^:]+):(%d+):(%d+):(%d+)()', at)
      if tonumber(ends) > now then
        if not fits(line, tonumber(permits), slots) then break end
        granted[#granted + 1] = { who, grant(line, who, tonumber(permits), tonumber(lease), now), lease }
      end
      at = after
    end
    line.queue = sub(queue, at)
    return granted
  end

  local function kept(line, now) return math.ceil((math.max(line.fence, line.ends, now) - now + 1000000) / 1000) end

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

  local function is_full(queue, most)
    -- The shortest place has eight characters, so that a short line need not be counted.
    if #queue < most * 8 then return false end
    local count, at = 0, 0
    repeat
      at = find(queue, ';', at + 1, true)
      if at then count = count + 1 end
    until not at
    return count >= most
  end

  local function without_the_dead(queue, now)
    return (string.gsub(queue, ';[^:]+:%d+:(%d+):%d+', function(ends)
      if tonumber(ends) <= now then return '' end
    end))
  end

  local function ask(state, now, args)
    local me, lease, permits, slots = args[2], tonumber(args[3]), tonumber(args[4]), tonumber(args[5])
    local patience, most, topic = tonumber(args[6]), tonumber(args[7]), args[8]
    local line = read(state)
    for _, one in ipairs(line.holders) do
      if one[1] == me and one[4] > now then return { false }, { 'h', one[3], whole(one[4] - now) }, { 0 }, {} end
    end
    line.holders = alive(line.holders, now)
    local mark = ';' .. me .. ':'
    local place, named = find(line.queue, mark, 1, true)
    if place and patience > 0 then
      local head, rest = match(line.queue, '^(%d+:)%d+(.*)$', named + 1)
      line.queue = sub(line.queue, 1, named) .. head .. whole(lasts(line, now + patience)) .. rest
    end
    local turn
    local granted = serve(line, slots, now)
    for _, one in ipairs(granted) do
      if one[1] == me then turn = { 'h', one[2], one[3] } end
    end
    local stands = place and not turn and find(line.queue, mark, 1, true)
    if not turn and not stands then
      if line.queue == '' and fits(line, permits, slots) then
        turn = { 'h', grant(line, me, permits, lease, now), whole(lease) }
      elseif patience == 0 then
        turn = { 'b', whole(line.fence), whole(soonest(line.holders, now)) }
      else
        -- Those that follow under the lease that is held stand in the line until it is renewed or given back.
        if slots == 1 and line.holders[1] then most = most + line.fence - tonumber(line.holders[1][3]) end
        if is_full(line.queue, most) then line.queue = without_the_dead(line.queue, now) end
        if is_full(line.queue, most) then
          turn = { 'f', whole(line.fence), whole(soonest(line.holders, now)) }
        else
          local ends = whole(lasts(line, now + patience))
          line.queue = line.queue .. mark .. whole(permits) .. ':' .. ends .. ':' .. whole(lease)
        end
      end
    end
    if not turn then
      local sleep = math.max(math.floor(patience / 3), 1)
      if sub(line.queue, 1, #mark) == mark then sleep = math.min(sleep, soonest(line.holders, now)) end
      turn = { 'w', whole(line.fence), whole(sleep) }
    end
    local after = written(line)
    if after == (state or '1:0 0 |') then return { false }, turn, { 0 }, {} end
    local changed = #granted > 0 or turn[1] == 'h'
    return { after }, turn, { kept(line, now) }, topics(granted, me, topic, changed)
  end

  -- Takes a place out of the line; returns whether there was one.
  local function drop(line, who)
    local place, named = find(line.queue, ';' .. who .. ':', 1, true)
    if place then line.queue = sub(line.queue, 1, place - 1) .. match(line.queue, '^%d+:%d+:%d+(.*)$', named + 1) end
    return place ~= nil
  end

  local function cohort(who)
    local process, number = match(who, '^([^#]*)#.*(~[^~]*)$')
    return process and process .. number
  end

  -- Those right behind the new holder that are of its cohort; a fence is kept for each.
  local function successors(line, holder, most, now)
    local found, at, own = {}, 1, cohort(holder[1])
    while #found < most do
      local who, ends, after = match(line.queue, '^;([^:]+):%d+:(%d+):%d+()', at)
      if not who or tonumber(ends) <= now or cohort(who) ~= own then break end
      found[#found + 1] = ';' .. who
      at = after
    end
    line.fence = math.max(line.fence, tonumber(holder[2]) + #found)
    return table.concat(found)
  end

  local function renew(state, now, args)
    local line = read(state)
    local changed = false
    for at = 5, #args do changed = drop(line, args[at]) or changed end
    for _, one in ipairs(line.holders) do
      if one[1] == args[2] and one[3] == args[3] then
        one[4] = math.max(one[4], now + tonumber(args[4]))
        lasts(line, one[4])
        return { written(line) }, { '1' }, { kept(line, now) }, {}
      end
    end
    if changed then return { written(line) }, { '0' }, { kept(line, now) }, {} end
    return { false }, { '0' }, { 0 }, {}
  end

  local function leave(state, now, args)
    local me, slots, most, topic = args[2], tonumber(args[3]), tonumber(args[4]), args[5]
    local line = read(state)
    local others, held = {}, false
    for _, one in ipairs(line.holders) do
      if one[1] == me then held = true else others[#others + 1] = one end
    end
    local stood = drop(line, me)
    for at = 6, #args do stood = drop(line, args[at]) or stood end
    if not held and not stood then return { false }, { '0', '' }, { 0 }, {} end
    line.holders = alive(others, now)
    local granted = serve(line, slots, now)
    local own = most > 0 and cohort(me)
    local follows = own and #granted == 1 and cohort(granted[1][1]) == own
    local answer = { held and '1' or '0', follows and successors(line, granted[1], most, now) or '' }
    for _, one in ipairs(granted) do
      for i = 1, 3 do answer[#answer + 1] = one[i] end
    end
    local woken = topics(granted, me, topic, held or #granted > 0)
    if #line.holders == 0 and line.queue == '' then
      if line.fence < now then return { true }, answer, { 0 }, woken end
      line.ends = 0
    end
    return { written(line) }, answer, { kept(line, now) }, woken
  end

  return { ask = ask, renew = renew, leave = leave }
end

local steps

return function(states, now, args)
  steps = steps or line_steps()
  return steps[args[1]](states[1] or nil, now, args)
end, alone
