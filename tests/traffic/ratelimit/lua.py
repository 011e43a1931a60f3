"""Runs one step of a twin on states that are handed in, and says what it would write."""

HARNESS = """
local twin = (function()
%s
end)()
local count, now, states, args = tonumber(ARGV[1]), tonumber(ARGV[2]), {}, {}
for i = 1, count do states[i] = ARGV[2 + i] ~= '' and ARGV[2 + i] end
for i = 3 + count, #ARGV do args[#args + 1] = ARGV[i] end
local written, answer, keep, topics = twin(states, now, args)
for i = 1, count do
  written[i] = written[i] == true and 'gone' or written[i] or 'unchanged'
  keep[i] = string.format('%%.0f', keep[i])
end
return { written, answer, keep, topics }
"""
