-- words: parts spent, and when; set: ahead, parts of a token, parts that come back in a microsecond, parts of all
local fresh = { 0, 0 }

local function taken(words, now, cost, set)
  local part, fill, all = set[2], set[3], set[4]
  local start = math.max(now, words[2])
  local spent = math.max(0, math.min(words[1], all) - (start - words[2]) * fill)
  local over = spent + cost * part - all
  if over > 0 then
    local pause = math.ceil(over / fill)
    start, spent = start + pause, math.max(0, spent - pause * fill)
  end
  return { spent + cost * part, start }, start
end

local function idle_at(words, set)
  return words[2] + math.ceil(math.min(words[1], set[4]) / set[3])
end
