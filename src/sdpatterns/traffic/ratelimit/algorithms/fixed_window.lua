-- state: the start of the window, and how many passed in it; params: window, most
local initial = { 0, 0 }

local function advance(state, now, cost, params)
  local window, most = params[1], params[2]
  local start, used = math.max(state[1], now - now % window), 0
  if start == state[1] then used = state[2] end
  if used + cost > most then start, used = start + window, 0 end
  return { start, used + cost }, math.max(now, start)
end

local function idle_at(state, params)
  return state[1] + params[1]
end
