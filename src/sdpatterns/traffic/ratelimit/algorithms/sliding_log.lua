-- state: an instant and how many passed at it, and so on; params: window, most
local initial = {}

local function advance(state, now, cost, params)
  local window, most, used = params[1], params[2], 0
  local start, first, after = math.max(now, state[#state - 1] or 0), 1, {}
  for i = 2, #state, 2 do used = used + state[i] end
  while state[first] and (state[first] <= start - window or used + cost > most) do
    start = math.max(start, state[first] + window)
    used = used - state[first + 1]
    first = first + 2
  end
  for i = first, #state do after[#after + 1] = state[i] end
  if after[#after - 1] == start then
    after[#after] = after[#after] + cost
  else
    after[#after + 1], after[#after + 2] = start, cost
  end
  return after, start
end

local function idle_at(state, params)
  return (state[#state - 1] or 0) + params[1]
end
