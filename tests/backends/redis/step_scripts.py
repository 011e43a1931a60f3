"""Holds a script to its Python: both run the same random steps, the script in a real Valkey."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import pytest
import redis

from sdpatterns.core.codec import Codec
from sdpatterns.core.step import GONE, UNCHANGED

_STEPS_NIGHTLY = 20_000
_STEPS_LONG = 1_000_000


def steps_each_time(number: int) -> Callable[[Any], Any]:
    """Give a test its number of `steps`: so many in each run, more by night, many in a long run."""

    def marked(test: Any) -> Any:
        # Other tests go through the same lines; counting them for each step takes as long as the steps.
        counted = pytest.mark.unmeasured(test)
        nightly = pytest.param(_STEPS_NIGHTLY, marks=pytest.mark.nightly)
        long = pytest.param(_STEPS_LONG, marks=[pytest.mark.long, pytest.mark.timeout(7200)])
        return pytest.mark.parametrize("steps", [number, nightly, long])(counted)

    return marked


many_steps = steps_each_time(3_000)

_OF_ONE_HISTORY = 50
_BATCH = 2_000

HARNESS = """
local script, script_of_one = (function()
%s
end)()
local count, now, states, args = tonumber(ARGV[1]), tonumber(ARGV[2]), {}, {}
for i = 1, count do states[i] = ARGV[2 + i] ~= '' and ARGV[2 + i] end
for i = 3 + count, #ARGV do args[#args + 1] = ARGV[i] end
local written, answer, keep, topics = script(states, now, args)
if count == 1 and script_of_one then
  local one, same, kept = script_of_one(states[1], now, args, string.format('%%.0f', now))
  -- It wakes no topics.
  local other = cjson.encode({ { one }, same, { kept } }) ~= cjson.encode({ written, answer, keep })
  if same and (other or #(topics or {}) > 0) then
    return redis.error_reply('the function for one cell differs: ' .. cjson.encode({ one, same, kept }))
  end
end
for i = 1, count do
  written[i] = written[i] == true and 'gone' or written[i] or 'unchanged'
  keep[i] = string.format('%%.0f', keep[i])
end
return { written, answer, keep, topics }
"""
"""A script on states that are handed in: how many, the time, the states, its own arguments. If it has a function for
one cell as well, both agree."""


class Played(NamedTuple):
    """A step that Python has run."""

    words: Sequence[str | bytes]
    """What the harness is sent."""
    reply: Any
    """What it has to answer, to the byte."""
    about: Any = None
    """Whatever the test wants to know of the step besides."""


class History(Protocol):
    """Random steps, each on the state that Python's step before it left."""

    def step(self) -> Played:
        """Run the next one in Python."""
        ...


def held_to_python(
    valkey_url: str, source: str, begin: Callable[[int], History], steps: int
) -> Iterator[tuple[Played, Any]]:
    """So many steps of histories with the seeds 0, 1, 2 …, and the script's replies, each found equal."""
    compared = 0
    left = itertools.islice(_played(begin), steps)
    with redis.Redis.from_url(valkey_url) as client:
        script = client.script_load(HARNESS % source)
        while batch := list(itertools.islice(left, _BATCH)):
            pipe = client.pipeline(transaction=False)
            for played in batch:
                pipe.evalsha(script, 0, *played.words)
            for played, reply in zip(batch, pipe.execute(), strict=True):
                assert reply == played.reply, (played, reply)
                compared += 1
                yield played, reply
    assert compared == steps


def _played(begin: Callable[[int], History]) -> Iterator[Played]:
    for seed in itertools.count():
        history = begin(seed)
        for _ in range(_OF_ONE_HISTORY):
            yield history.step()


def written(codec: Codec[Any], state: Any) -> bytes:
    """What becomes of a state, in the harness's words."""
    return b"unchanged" if state is UNCHANGED else b"gone" if state is GONE else codec.encode(state)


def kept(keep_s: float) -> bytes:
    """For how long a state is kept, in the harness's words: whole milliseconds, rounded up."""
    return b"%d" % -(-round(keep_s * 1e6) // 1000)
