-- state: the start of the window, how many passed in the one before and in it, and when the last did;
-- params: window, most, step, steps of a window
local initial = { 0, 0, 0, 0 }

local function seen_at(state, now, window)
  local start = now - now % window
  if state[1] >= start then return state[1], state[2], state[3] end
  if state[1] == start - window then return start, state[3], 0 end
  return start, 0, 0
end

local function advance(state, now, cost, params)
  local window, most, step, steps = params[1], params[2], params[3], params[4]
  local at = math.max(now, state[4])
  local start, before, used = seen_at(state, at, window)
  while true do
    local room, next = most - used - cost, start + window
    local passes = next
    if room >= 0 then
      passes = at
      if before > 0 then passes = math.max(at, next - math.floor(room * steps / before) * step) end
    end
    if passes < next then return { start, before, used + cost, passes }, passes end
    start, before, used, at = next, used, 0, math.max(at, next)
  end
end

local function idle_at(state, params)
  if state[3] > 0 then return state[1] + 2 * params[1] end
  return state[1] + params[1]
end
