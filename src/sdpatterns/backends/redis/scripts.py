"""The scripts that run on the server: a twin's step, a read with the time, a compare-and-set.

A cell is one key whose value is `<last_us>|<payload>`: the store's time of the last write, then
the codec's bytes. A step's time is the server's, never below `last_us`. The server's own expiry
comes later than the state's, because it only collects garbage.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.failures import code_of
from sdpatterns.backends.redis.protocol import bulk, pack_after

__all__ = ["COMPARE_AND_SET", "READ", "SLACK_MS", "Job", "Script", "step_script"]

SLACK_MS = 5_000
"""How much longer than it has to be a cell is kept, for clocks that disagree after a failover."""

_STEP = """
local call, find, sub = redis.call, string.find, string.sub
local twin = (function()
%(twin)s
end)()
local time = call('TIME')
local clock = time[1] * 1000000 + time[2]

local function step(first, count, now, args)
  local states = {}
  for i = 1, count do
    local value = call('GET', KEYS[first + i])
    if value then
      -- A pattern would be shorter, and costs as much as the rest of the step.
      local bar = find(value, '|%(head)s', 1, true)
      local last = bar and tonumber(sub(value, 1, bar - 1))
      if not last then return 0 end
      if last > now then now = last end
      states[i] = sub(value, bar + 1)
    else
      states[i] = false
    end
  end
  local written, answer, keep, topics = twin(states, now, args)
  for i = 1, count do
    local state = written[i]
    if state == true then
      call('DEL', KEYS[first + i])
    elseif state then
      local keep_ms = keep[i] > 0 and keep[i] + %(slack)d or %(slack)d
      call('SET', KEYS[first + i], string.format('%%.0f|', now) .. state, 'PX', keep_ms)
    end
  end
  -- A signal is a hint: by now the step has happened, and its refusal would say that it has not.
  for i = 1, #topics do
    local topic = topics[i]
    local mark = find(topic, '#', 1, true) or #topic + 1
    redis.pcall('PUBLISH', '%(channel)s' .. sub(topic, 1, mark - 1), sub(topic, mark))
  end
  return answer
end

local replies, key, arg = {}, 0, 1
while ARGV[arg] do
  local count, size, args = ARGV[arg + 1] + 0, ARGV[arg + 2] + 0, {}
  for i = 1, size do args[i] = ARGV[arg + 2 + i] end
  local ok, reply = pcall(step, key, count, clock + ARGV[arg], args)
  if not ok then reply = type(reply) == 'table' and reply.err or tostring(reply) end
  replies[#replies + 1] = reply
  key, arg = key + count, arg + 3 + size
end
return replies
"""

_READ = """
local found = redis.call('TIME')
for i = 1, #KEYS do found[i + 2] = redis.call('GET', KEYS[i]) end
return found
"""

_COMPARE_AND_SET = """
local found = redis.call('TIME')
local same = true
for i = 1, #KEYS do
  local value = redis.call('GET', KEYS[i])
  found[i + 2] = value
  same = same and (value or '') == ARGV[3 * i - 2]
end
if not same then return found end
for i = 1, #KEYS do
  local value = ARGV[3 * i - 1]
  if value == '-' then
    redis.call('DEL', KEYS[i])
  elseif value ~= '' then
    redis.call('SET', KEYS[i], value, 'PX', ARGV[3 * i])
  end
end
for i = 3 * #KEYS + 1, #ARGV do
  local topic = ARGV[i]
  local mark = string.find(topic, '#', 1, true) or #topic + 1
  redis.pcall('PUBLISH', string.sub(topic, 1, mark - 1), string.sub(topic, mark))
end
return 1
"""


class Job(NamedTuple):
    """One caller's step: its cells, and the shift of time, the numbers of cells and words, the words."""

    names: Sequence[bytes]
    words: Sequence[str | bytes]


class Script:
    """A script under its digest; sent whole only to a server that has not seen it."""

    __slots__ = ("_by_digest", "_whole")

    def __init__(self, text: str) -> None:
        digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._by_digest = bulk("EVALSHA") + bulk(digest)
        self._whole = bulk("EVAL") + bulk(text)

    async def run(self, wire: Any, keys: Sequence[bytes], args: Sequence[str | bytes]) -> Any:
        """The script's reply. A server that does not know it has done nothing: it gets the script and a second call."""
        rest = [b"%d" % len(keys), *keys, *args]
        try:
            return await wire.call(pack_after(self._by_digest, len(rest) + 2, rest), keys[0])
        except ResponseError as error:
            if code_of(error) != "NOSCRIPT":
                raise
        return await wire.call(pack_after(self._whole, len(rest) + 2, rest), keys[0])

    async def steps(self, wire: Any, jobs: Sequence[Job]) -> Any:
        """The replies to several steps, made one after another in one go of the server."""
        if len(jobs) == 1:
            return await self.run(wire, jobs[0].names, jobs[0].words)
        names = [name for job in jobs for name in job.names]
        return await self.run(wire, names, [word for job in jobs for word in job.words])


READ = Script(_READ)
COMPARE_AND_SET = Script(_COMPARE_AND_SET)


@functools.lru_cache(maxsize=1024)
def step_script(source: str, head: str, channel: str) -> Script:
    """The script that runs steps of one twin on states that begin with `head`.

    A state of any other version is left to Python, which may know how to read it.
    """
    words = {"twin": source, "head": head, "slack": SLACK_MS, "channel": channel}
    return Script(_STEP % words)
