-- words: the start of the window, and how many passed in it; set: ahead, window, most
local fresh = { 0, 0 }

local function taken(words, now, cost, set)
  local window, most = set[2], set[3]
  local start, used = math.max(words[1], now - now % window), 0
  if start == words[1] then used = words[2] end
  if used + cost > most then start, used = start + window, 0 end
  return { start, used + cost }, math.max(now, start)
end

local function idle_at(words, set)
  return words[1] + set[2]
end
