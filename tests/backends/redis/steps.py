"""Transitions for these tests: counting, with and without a script, harmless to repeat or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_SOURCE = """
return function(states, now, args)
  local written, answer, keep = {}, {}, {}
  for i = 1, #states do
    local before = states[i] and tonumber(string.match(states[i], '^1:(%d+)$')) or 0
    if before + 1 > tonumber(args[1]) then return { false }, { 'full' }, { 0 }, {} end
    written[i], answer[i], keep[i] = string.format('1:%.0f', before + 1), string.format('%.0f', before + 1), 60000
  end
  return written, answer, keep, {}
end
"""


class CountScript:
    name = "count/1"
    source = _SOURCE

    def __init__(self, most: int) -> None:
        self._most = most

    def args(self) -> Sequence[str]:
        return (str(self._most),)

    def answer(self, reply: Sequence[bytes]) -> Any:
        counts = [None if word == b"full" else int(word) for word in reply]
        return counts if len(counts) > 1 else counts[0]


class Count:
    """One more, and how many that makes; no more than `most`."""

    def __init__(self, *, script: bool, repeats: str = "unsafe", most: int = 10**9) -> None:
        self.repeats = repeats
        self.script = CountScript(most) if script else None
        self._most = most

    def __call__(self, states: Any, now_us: int, /) -> Any:
        counts = [(state or (0,))[0] + 1 for state in states]
        return [(count,) for count in counts], counts[0], [60.0] * len(counts), ()


class CountAll(Count):
    """One more in each cell, or nothing where one of them is full."""

    def __call__(self, states: Any, now_us: int, /) -> Any:
        after, _, keeps_s, _ = super().__call__(states, now_us)
        counts = [count for (count,) in after]
        if max(counts) > self._most:
            return states, None, keeps_s, ()
        return after, counts, keeps_s, ()
