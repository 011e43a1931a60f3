-- words: an instant and how many passed at it, and so on; set: ahead, window, most
local fresh = {}

local function taken(words, now, cost, set)
  local window, most, used = set[2], set[3], 0
  local start, first, after = math.max(now, words[#words - 1] or 0), 1, {}
  for i = 2, #words, 2 do used = used + words[i] end
  while words[first] and (words[first] <= start - window or used + cost > most) do
    start = math.max(start, words[first] + window)
    used = used - words[first + 1]
    first = first + 2
  end
  for i = first, #words do after[#after + 1] = words[i] end
  if after[#after - 1] == start then
    after[#after] = after[#after] + cost
  else
    after[#after + 1], after[#after + 2] = start, cost
  end
  return after, start
end

local function idle_at(words, set)
  return (words[#words - 1] or 0) + set[2]
end
