-- state: when the last drop will have left; params: interval
local initial = { 0 }

local function advance(state, now, cost, params)
  local start = math.max(now, state[1])
  return { start + cost * params[1] }, start
end

local function idle_at(state, params)
  return state[1]
end
