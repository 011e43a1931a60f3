-- The steps of decision.py, for a server. Whole numbers cross as decimal text.
--   args: 'book' or 'look', longest wait, then for each cell: how many rates, and for each
--         rate its increment and its tolerance
--      or 'back', then for each rate its increment and the instant that the booking left
--   answer: '1' or '0', the time, and the instants of all rates after the step

local function instants(state)
  local found = {}
  if state then
    for word in string.gmatch(string.sub(state, string.find(state, ':', 1, true) + 1), '%S+') do
      found[#found + 1] = tonumber(word)
    end
  end
  return found
end

local function written(tats)
  local words = {}
  for i = 1, #tats do words[i] = string.format('%.0f', tats[i]) end
  return '1:' .. table.concat(words, ' ')
end

local function last(tats)
  local latest = 0
  for i = 1, #tats do latest = math.max(latest, tats[i]) end
  return latest
end

-- The everyday request, of one rate on one cell, without the tables of the others. Nothing for a state
-- that holds another number of rates.
local function book_one(state, now, args)
  local tat = 0
  if state then
    tat = tonumber(string.sub(state, string.find(state, ':', 1, true) + 1))
    if not tat then return end
  end
  local after = (tat > now and tat or now) + args[4]
  local time = string.format('%.0f', now)
  if after - args[5] - now > args[2] + 0 then
    return { false }, { '0', time, string.format('%.0f', tat) }, { 0 }, {}
  elseif args[1] == 'look' then
    return { false }, { '1', time, string.format('%.0f', tat) }, { 0 }, {}
  end
  local word = string.format('%.0f', after)
  return { '1:' .. word }, { '1', time, word }, { math.ceil((after - now) / 1000) }, {}
end

local function book(states, now, args)
  local cells, before, at, allowed = {}, {}, 3, true
  local wait_max = tonumber(args[2])
  for cell = 1, #states do
    local tats, after = instants(states[cell]), {}
    for rate = 1, tonumber(args[at]) do
      local tat = tats[rate] or 0
      local moved = math.max(tat, now) + tonumber(args[at + 2 * rate - 1])
      allowed = allowed and moved - tonumber(args[at + 2 * rate]) - now <= wait_max
      before[#before + 1] = tat
      after[rate] = moved
    end
    at = at + 1 + 2 * #after
    cells[cell] = after
  end
  local answer, new, keep = { allowed and '1' or '0', string.format('%.0f', now) }, {}, {}
  local change = allowed and args[1] == 'book'
  for cell = 1, #states do
    new[cell] = change and written(cells[cell])
    keep[cell] = change and math.ceil((last(cells[cell]) - now) / 1000) or 0
    for rate = 1, #cells[cell] do
      local tat = change and cells[cell][rate] or before[#answer - 1]
      answer[#answer + 1] = string.format('%.0f', tat)
    end
  end
  return new, answer, keep, {}
end

local function give_back(states, now, args)
  local before, after, changed = instants(states[1]), {}, false
  for rate = 1, (#args - 1) / 2 do
    after[rate] = before[rate] or 0
    if after[rate] == tonumber(args[2 * rate + 1]) then
      after[rate] = after[rate] - tonumber(args[2 * rate])
      changed = true
    end
  end
  if not changed then return { false }, {}, { 0 }, {} end
  if last(after) <= now then return { true }, {}, { 0 }, {} end
  return { written(after) }, {}, { math.ceil((last(after) - now) / 1000) }, {}
end

return function(states, now, args)
  if args[1] == 'back' then return give_back(states, now, args) end
  if #args == 5 then
    local new, answer, keep, topics = book_one(states[1], now, args)
    if new then return new, answer, keep, topics end
  end
  return book(states, now, args)
end
