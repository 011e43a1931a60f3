-- words: the start of the window, how many passed in the one before and in it, and when the last did;
-- set: ahead, window, most, step, steps of a window
local fresh = { 0, 0, 0, 0 }

local function seen_at(words, now, window)
  local start = now - now % window
  if words[1] >= start then return words[1], words[2], words[3] end
  if words[1] == start - window then return start, words[3], 0 end
  return start, 0, 0
end

local function taken(words, now, cost, set)
  local window, most, step, steps = set[2], set[3], set[4], set[5]
  local at = math.max(now, words[4])
  local start, before, used = seen_at(words, at, window)
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

local function idle_at(words, set)
  if words[3] > 0 then return words[1] + 2 * set[2] end
  return words[1] + set[2]
end
