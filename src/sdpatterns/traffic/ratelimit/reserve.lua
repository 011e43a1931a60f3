-- The steps of decision.py, for a server, behind the chunk of an algorithm, which defines
--   initial                            the numbers of a rate of which nothing is used
--   advance(state, now, cost, params)  the numbers after one more request, and when it may start
--   idle_at(state, params)             from when on the numbers decide as the initial ones do
--   advance_alone(...)                 if it can: `advance` for a lone number that is also when it is idle
-- args: 'reserve' or 'look', cost, how many params a rate has, then for each cell: how many rates, and
--         for each of them how far ahead the request may start, and its params
--    or 'cancel', the state that the request left, the one it found, and when that one is idle
-- answer: the time, and the state found in each cell; the rest follows from them

local function whole(number) return string.format('%.0f', number) end

-- The common request, for one rate of one cell, without the tables of the others.
local function reserve_one(state, now, args, time)
  if args[1] ~= 'reserve' or args[4] ~= '1' then return end
  local alone = state and tonumber(string.sub(state, 3))
  if state and not alone then return end
  local after, start, idle
  if advance_alone then
    after, start = advance_alone(alone or initial[1], now, args[2], args[6], args[7])
    idle = after
  else
    local params, numbers = {}, nil
    for i = 1, args[3] do params[i] = tonumber(args[5 + i]) end
    numbers, start = advance(alone and { alone } or initial, now, tonumber(args[2]), params)
    if #numbers > 1 then return end
    after, idle = numbers[1], idle_at(numbers, params)
  end
  local answer = { time, state or '' }
  if start - now > args[5] + 0 then return false, answer, 0 end
  return '1:' .. whole(after), answer, math.ceil((idle - now) / 1000)
end

-- All other requests. Its functions stand inside it, because to make them costs each common request a tenth more.
local function step(states, now, args)
  local function parsed(state)
    if not state then return {} end
    local body = string.sub(state, string.find(state, ':', 1, true) + 1)
    local alone = tonumber(body)
    if alone then return { { alone } } end
    local rates, number = {}, string.gmatch(body, '%S+')
    for size in number do
      local numbers = {}
      for i = 1, tonumber(size) do numbers[i] = tonumber(number()) end
      rates[#rates + 1] = numbers
    end
    return rates
  end

  local function written(rates)
    if #rates == 1 and #rates[1] == 1 then return '1:' .. whole(rates[1][1]) end
    local words = {}
    for _, numbers in ipairs(rates) do
      words[#words + 1] = whole(#numbers)
      for _, number in ipairs(numbers) do words[#words + 1] = whole(number) end
    end
    return '1:' .. table.concat(words, ' ')
  end

  local function reserve(states, now, args)
    local cost, width, at = tonumber(args[2]), tonumber(args[3]), 4
    local answer, after, idle, allowed = { whole(now) }, {}, {}, true
    for cell = 1, #states do
      local found, moved, last = parsed(states[cell]), {}, now
      for rate = 1, tonumber(args[at]) do
        local params, ahead, start = {}, tonumber(args[at + 1 + (rate - 1) * (width + 1)]), nil
        for i = 1, width do params[i] = tonumber(args[at + 1 + (rate - 1) * (width + 1) + i]) end
        moved[rate], start = advance(found[rate] or initial, now, cost, params)
        allowed = allowed and start - now <= ahead
        last = math.max(last, idle_at(moved[rate], params))
      end
      at = at + 1 + (width + 1) * #moved
      answer[cell + 1], after[cell], idle[cell] = states[cell] or '', moved, last
    end
    local new, keep, change = {}, {}, allowed and args[1] == 'reserve'
    for cell = 1, #states do
      new[cell] = change and written(after[cell])
      keep[cell] = change and math.ceil((idle[cell] - now) / 1000) or 0
    end
    return new, answer, keep, {}
  end

  local function cancel(states, now, args)
    if states[1] ~= args[2] then return { false }, {}, { 0 }, {} end
    local keep = math.ceil((tonumber(args[4]) - now) / 1000)
    if keep <= 0 then return { true }, {}, { 0 }, {} end
    return { args[3] }, {}, { keep }, {}
  end

  if args[1] == 'cancel' then return cancel(states, now, args) end
  return reserve(states, now, args)
end

return step, reserve_one
