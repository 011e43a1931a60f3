-- state: the instant at which nothing is used any more; params: interval, tolerance
local initial = { 0 }

local function advance(state, now, cost, params)
  local after = math.max(state[1], now) + cost * params[1]
  return { after }, math.max(now, after - params[2])
end

-- The same without tables, because most steps of most limiters are this one. The params are still text.
function advance_alone(state, now, cost, interval, tolerance)
  local after = (state > now and state or now) + cost * interval
  return after, after - tolerance
end

local function idle_at(state, params)
  return state[1]
end
