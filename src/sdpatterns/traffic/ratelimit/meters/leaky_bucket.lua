-- words: when the last drop will have left; set: ahead, interval
local fresh = { 0 }

local function taken(words, now, cost, set)
  local start = math.max(now, words[1])
  return { start + cost * set[2] }, start
end

local function idle_at(words, set)
  return words[1]
end
