-- state: the instant at which nothing is used any more; params: interval, tolerance
local initial = { 0 }

local function advance(state, now, cost, params)
  local after = math.max(state[1], now) + cost * params[1]
  return { after }, math.max(now, after - params[2])
end

local function idle_at(state, params)
  return state[1]
end
