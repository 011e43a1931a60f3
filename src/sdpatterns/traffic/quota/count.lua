-- The steps of decision.py, for a server. Whole numbers cross as decimal text.
--   args: 'use' or 'look', cost, then for each period its kind, its start, its end, and how many pass in it
--      or 'adjust', how much to add, then for each period its kind and its end
--   answer: the time, and the state found; the rest follows from them

local function lasting(state, now)
  local usages = {}
  if state then
    local number = string.gmatch(string.sub(state, string.find(state, ':', 1, true) + 1), '%S+')
    for kind in number do
      local finish, used = tonumber(number()), tonumber(number())
      if finish > now then usages[#usages + 1] = { kind, finish, used } end
    end
  end
  return usages
end

local function written(usages, now, answer)
  local words, last = {}, now
  for i, usage in ipairs(usages) do
    words[i] = string.format('%s %.0f %.0f', usage[1], usage[2], usage[3])
    last = math.max(last, usage[2])
  end
  return { '1:' .. table.concat(words, ' ') }, answer, { math.ceil((last - now) / 1000) }, {}
end

local function use(found, now, args, answer)
  local cost, after, named, allowed = tonumber(args[2]), {}, {}, args[1] == 'use'
  for at = 3, #args, 4 do
    local usage = { args[at], tonumber(args[at + 2]), 0 }
    allowed = allowed and tonumber(args[at + 1]) <= now and now < usage[2]
    for _, one in ipairs(found) do
      if one[1] == args[at] then usage = one end
    end
    usage[3] = usage[3] + cost
    allowed = allowed and usage[3] <= tonumber(args[at + 3])
    after[#after + 1], named[args[at]] = usage, true
  end
  if not allowed then return { false }, answer, { 0 }, {} end
  for _, usage in ipairs(found) do
    if not named[usage[1]] then after[#after + 1] = usage end
  end
  return written(after, now, answer)
end

local function adjust(found, now, args, answer)
  local changed = false
  for at = 3, #args, 2 do
    for _, usage in ipairs(found) do
      if usage[1] == args[at] and usage[2] == tonumber(args[at + 1]) then
        usage[3], changed = math.max(0, usage[3] + tonumber(args[2])), true
      end
    end
  end
  if not changed then return { false }, answer, { 0 }, {} end
  return written(found, now, answer)
end

return function(states, now, args)
  local found, answer = lasting(states[1], now), { string.format('%.0f', now), states[1] or '' }
  if args[1] == 'adjust' then return adjust(found, now, args, answer) end
  return use(found, now, args, answer)
end
