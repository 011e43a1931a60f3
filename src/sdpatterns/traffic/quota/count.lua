-- The steps of decision.py, for a server. Whole numbers cross as decimal text.
--   args: 'take' or 'look', cost, then for each period its kind, its start, its end, and how many pass in it
--      or 'amend', how much to add, then for each period its kind and its end
--   answer: the time, and the state found; the rest follows from them

local function lasting(state, now)
  local tallies = {}
  if state then
    local number = string.gmatch(string.sub(state, string.find(state, ':', 1, true) + 1), '%S+')
    for kind in number do
      local finish, used = tonumber(number()), tonumber(number())
      if finish > now then tallies[#tallies + 1] = { kind, finish, used } end
    end
  end
  return tallies
end

local function written(tallies, now, answer)
  local words, last = {}, now
  for i, tally in ipairs(tallies) do
    words[i] = string.format('%s %.0f %.0f', tally[1], tally[2], tally[3])
    last = math.max(last, tally[2])
  end
  return { '1:' .. table.concat(words, ' ') }, answer, { math.ceil((last - now) / 1000) }, {}
end

local function take(found, now, args, answer)
  local cost, after, named, allowed = tonumber(args[2]), {}, {}, args[1] == 'take'
  for at = 3, #args, 4 do
    local tally = { args[at], tonumber(args[at + 2]), 0 }
    allowed = allowed and tonumber(args[at + 1]) <= now and now < tally[2]
    for _, one in ipairs(found) do
      if one[1] == args[at] then tally = one end
    end
    tally[3] = tally[3] + cost
    allowed = allowed and tally[3] <= tonumber(args[at + 3])
    after[#after + 1], named[args[at]] = tally, true
  end
  if not allowed then return { false }, answer, { 0 }, {} end
  for _, tally in ipairs(found) do
    if not named[tally[1]] then after[#after + 1] = tally end
  end
  return written(after, now, answer)
end

local function amend(found, now, args, answer)
  local changed = false
  for at = 3, #args, 2 do
    for _, tally in ipairs(found) do
      if tally[1] == args[at] and tally[2] == tonumber(args[at + 1]) then
        tally[3], changed = math.max(0, tally[3] + tonumber(args[2])), true
      end
    end
  end
  if not changed then return { false }, answer, { 0 }, {} end
  return written(found, now, answer)
end

return function(states, now, args)
  local found, answer = lasting(states[1], now), { string.format('%.0f', now), states[1] or '' }
  if args[1] == 'amend' then return amend(found, now, args, answer) end
  return take(found, now, args, answer)
end
