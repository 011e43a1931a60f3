"""The scripts that run on the server: a transition's script, a read with the time, a compare-and-set.

A cell is one key whose value is `<last_us>|<payload>`: the store's time of the last write, then
the codec's bytes. A step's time is the server's, never below `last_us`. The server's own expiry
comes later than the state's, because it only collects garbage.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.failures import code_of
from sdpatterns.backends.redis.names import turn_head
from sdpatterns.backends.redis.protocol import pack

__all__ = ["READ", "SLACK_MS", "ServerScript", "StepCall", "StepScript", "compare_and_set", "step_script"]

SLACK_MS = 5_000
"""How much longer than it has to be a cell is kept, for clocks that disagree after a failover."""

# Nearly every step of a limiter is on one cell, and the tables of the frame for many cells would cost the server half
# as much again as the step itself. A chunk may therefore return a second function, `function(state, now, args, time)`
# with `now` as text in `time`, for the new state, the answer and the milliseconds to keep it. If it returns nothing,
# the first function decides.
_ON_ONE = """
local call, find, sub = redis.call, string.find, string.sub
local script, script_of_one = (function()
%(script)s
end)()
local time = call('TIME')
local clock = time[1] * 1000000 + time[2]

local function on_one(name, now, args)
  local value, state = call('GET', name), false
  if value then
    -- A pattern would be shorter, and costs as much as the rest of the step.
    local bar = find(value, '|%(head)s', 1, true)
    local last = bar and tonumber(sub(value, 1, bar - 1))
    if not last then return 0 end
    if last > now then now = last end
    state = sub(value, bar + 1)
  end
  local time, written, answer, keep, topics = string.format('%%.0f', now), nil, nil, nil, nil
  if script_of_one then written, answer, keep = script_of_one(state, now, args, time) end
  if not answer then
    local all, kept
    all, answer, kept, topics = script({ state }, now, args)
    written, keep = all[1], kept[1]
  end
  if written == true then
    call('DEL', name)
  elseif written then
    call('SET', name, time .. '|' .. written, 'PX', keep > 0 and keep + %(slack)d or %(slack)d)
  end
  %(publish)s
  return answer
end
"""

# Two pieces of text and not two functions, because the server would make the functions again for each call.
_PUBLISH = """
  -- A signal is a hint: by now the step has happened, and its refusal would say that it has not.
  for i = 1, topics and #topics or 0 do
    local topic = topics[i]
    local mark = find(topic, '#', 1, true) or #topic + 1
    redis.pcall('PUBLISH', '%(channel)s' .. sub(topic, 1, mark - 1), sub(topic, mark))
  end
"""
_FAILED = "(type(reply) == 'table' and reply.err or tostring(reply))"

_STEP = (
    _ON_ONE
    + """
local done, reply = pcall(on_one, KEYS[1], clock + table.remove(ARGV), ARGV)
if done then return reply end
return %(failed)s
"""
)

_STEPS = (
    _ON_ONE
    + """
local function on_many(first, count, now, args)
  local states = {}
  for i = 1, count do
    local value = call('GET', KEYS[first + i])
    if value then
      local bar = find(value, '|%(head)s', 1, true)
      local last = bar and tonumber(sub(value, 1, bar - 1))
      if not last then return 0 end
      if last > now then now = last end
      states[i] = sub(value, bar + 1)
    else
      states[i] = false
    end
  end
  local written, answer, keep, topics = script(states, now, args)
  for i = 1, count do
    local state = written[i]
    if state == true then
      call('DEL', KEYS[first + i])
    elseif state then
      local keep_ms = keep[i] > 0 and keep[i] + %(slack)d or %(slack)d
      call('SET', KEYS[first + i], string.format('%%.0f|', now) .. state, 'PX', keep_ms)
    end
  end
  %(publish)s
  return answer
end

local replies, key, arg = {}, 0, 1
while ARGV[arg] do
  local now, count, size, args = clock + ARGV[arg], ARGV[arg + 1] + 0, ARGV[arg + 2] + 0, {}
  for i = 1, size do args[i] = ARGV[arg + 2 + i] end
  local done, reply
  if count == 1 then
    done, reply = pcall(on_one, KEYS[key + 1], now, args)
  else
    done, reply = pcall(on_many, key, count, now, args)
  end
  replies[#replies + 1] = done and reply or %(failed)s
  key, arg = key + count, arg + 3 + size
end
return replies
"""
)

_TURN_MS = 500
"""For how long a client that lost several races keeps the others off a cell: a few of its round trips, and
no longer than others can wait where it died."""

_READ = """
local found = redis.call('TIME')
found[3] = 0
for i = 1, #KEYS do found[i + 3] = redis.call('GET', KEYS[i]) end
return found
"""

_COMPARE_AND_SET = """
-- KEYS: the cells. ARGV: the caller's token, then for each cell the value found, the value to write ('-' drops
-- the cell, '' leaves it) and its time to live, then the channels to announce on.
-- The turn to write a cell is a key on the cell's node. It is a hint. It is no declared key, because a cluster that
-- moves the slot refuses a call in which one key is there and another one is not; pcall, because it refuses to look
-- for the turn as well.
local count, token, turns, sub = #KEYS, ARGV[1], {}, string.sub
local found, same, free = redis.call('TIME'), true, true
for i = 1, count do
  local key = KEYS[i]
  local turn = '%(turn_head)s' .. (sub(key, %(tag)d, %(tag)d) == '{' and sub(key, %(tag)d) or '{' .. key .. '}')
  local value, holder = redis.call('GET', key), redis.pcall('GET', turn)
  found[i + 3], turns[i] = value, turn
  same = same and (value or '') == ARGV[3 * i - 1]
  free = free and (holder == token or type(holder) ~= 'string')
end
local mine = free and token ~= ''
found[3] = mine and 1 or 0
if not (same and free) then
  -- Until this caller comes again, or for so long at most, all others are refused.
  if mine then
    for i = 1, count do redis.pcall('SET', turns[i], token, 'PX', %(turn)d) end
  end
  return found
end
for i = 1, count do
  local value = ARGV[3 * i]
  if value == '-' then
    redis.call('DEL', KEYS[i])
  elseif value ~= '' then
    redis.call('SET', KEYS[i], value, 'PX', ARGV[3 * i + 1])
  end
  if mine then redis.pcall('DEL', turns[i]) end
end
for i = 3 * count + 2, #ARGV do
  local topic = ARGV[i]
  local mark = string.find(topic, '#', 1, true) or #topic + 1
  redis.pcall('PUBLISH', sub(topic, 1, mark - 1), sub(topic, mark))
end
return 1
"""


class StepCall(NamedTuple):
    """One caller's step: its cells, the chunk's arguments, and the shift of time in microseconds."""

    names: Sequence[bytes]
    args: Sequence[str | bytes]
    shift_us: str


class ServerScript:
    """A script under its digest; sent whole only to a server that has not seen it."""

    __slots__ = ("_by_digest", "_whole")

    def __init__(self, text: str) -> None:
        digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._by_digest = ("EVALSHA", digest)
        self._whole = ("EVAL", text)

    async def run(self, sender: Any, keys: Sequence[bytes], args: Sequence[str | bytes]) -> Any:
        """The script's reply. A server that does not know it has done nothing: it gets the script and a second call."""
        # By digest first: after the first call of a script a server knows it, until it restarts.
        count = b"%d" % len(keys)
        try:
            return await sender.call(pack(*self._by_digest, count, *keys, *args), keys[0])
        except ResponseError as error:
            if code_of(error) != "NOSCRIPT":
                raise
        return await sender.call(pack(*self._whole, count, *keys, *args), keys[0])


class StepScript:
    """The scripts of a transition's steps: one for a single step on one cell, one for all others."""

    __slots__ = ("_of_one", "_others")

    def __init__(self, of_one: ServerScript, others: ServerScript) -> None:
        self._of_one = of_one
        self._others = others

    def step(self, sender: Any, call: StepCall) -> Coroutine[Any, Any, Any]:
        """The reply to one step."""
        # One on one cell gets the shorter script, because the frame for many costs the server half as much again.
        if len(call.names) == 1:
            return self._of_one.run(sender, call.names, [*call.args, call.shift_us])
        return self._alone(sender, call)

    async def _alone(self, sender: Any, call: StepCall) -> Any:
        [reply] = await self.steps(sender, (call,))
        return reply

    async def steps(self, sender: Any, calls: Sequence[StepCall]) -> Any:
        """The replies to several steps, made one after another in one go of the server."""
        words: list[str | bytes] = []
        for call in calls:
            words += (call.shift_us, b"%d" % len(call.names), b"%d" % len(call.args), *call.args)
        return await self._others.run(sender, [name for call in calls for name in call.names], words)


READ = ServerScript(_READ)


@functools.lru_cache(maxsize=64)
def compare_and_set(prefix: str) -> ServerScript:
    """What writes cells of a backend with this prefix if they are as they were found."""
    words = {"turn_head": turn_head(prefix).decode(), "tag": len(prefix) + 2, "turn": _TURN_MS}
    return ServerScript(_COMPARE_AND_SET % words)


@functools.lru_cache(maxsize=1024)
def step_script(source: str, head: str, channel: str) -> StepScript:
    """What runs the script of a transition on states that begin with `head`.

    A state of any other version is left to Python, which may know how to read it.
    """
    words = {"script": source, "head": head, "slack": SLACK_MS, "failed": _FAILED}
    words["publish"] = _PUBLISH.strip() % {"channel": channel}
    return StepScript(ServerScript(_STEP % words), ServerScript(_STEPS % words))
