-- The steps of metered.py, for a server, after a chunk that defines for its meter
--   fresh                          the numbers of a rate that nobody has used
--   taken(words, now, cost, set)   the numbers after one more request, and when it may start
--   idle_at(words, set)            when the numbers equal fresh ones
-- args: 'take' or 'look', cost, longest wait, how many settings a rate has, then for each cell:
--         how many rates, and for each its settings, of which the first is how far ahead it books
--    or 'back', the state that the request left, the one it found, and when that one is idle
-- answer: the time, and the state found in each cell; the rest follows from them

local function parsed(state)
  local rates = {}
  if state then
    local number = string.gmatch(string.sub(state, string.find(state, ':', 1, true) + 1), '%S+')
    for size in number do
      local words = {}
      for i = 1, tonumber(size) do words[i] = tonumber(number()) end
      rates[#rates + 1] = words
    end
  end
  return rates
end

local function written(rates)
  local texts = {}
  for _, words in ipairs(rates) do
    texts[#texts + 1] = string.format('%.0f', #words)
    for _, word in ipairs(words) do texts[#texts + 1] = string.format('%.0f', word) end
  end
  return '1:' .. table.concat(texts, ' ')
end

local function take(states, now, args)
  local cost, wait_max, width, at = tonumber(args[2]), tonumber(args[3]), tonumber(args[4]), 5
  local answer, after, idle, allowed = { string.format('%.0f', now) }, {}, {}, true
  for cell = 1, #states do
    local found, moved, last = parsed(states[cell]), {}, now
    for rate = 1, tonumber(args[at]) do
      local set, start = {}, nil
      for i = 1, width do set[i] = tonumber(args[at + (rate - 1) * width + i]) end
      moved[rate], start = taken(found[rate] or fresh, now, cost, set)
      allowed = allowed and start - now <= math.min(wait_max, set[1])
      last = math.max(last, idle_at(moved[rate], set))
    end
    at = at + 1 + width * #moved
    answer[cell + 1], after[cell], idle[cell] = states[cell] or '', moved, last
  end
  local new, keep, change = {}, {}, allowed and args[1] == 'take'
  for cell = 1, #states do
    new[cell] = change and written(after[cell])
    keep[cell] = change and math.ceil((idle[cell] - now) / 1000) or 0
  end
  return new, answer, keep, {}
end

local function give_back(states, now, args)
  if states[1] ~= args[2] then return { false }, {}, { 0 }, {} end
  local keep = math.ceil((tonumber(args[4]) - now) / 1000)
  if keep <= 0 then return { true }, {}, { 0 }, {} end
  return { args[3] }, {}, { keep }, {}
end

return function(states, now, args)
  if args[1] == 'back' then return give_back(states, now, args) end
  return take(states, now, args)
end
