"""The transitions that the contracts play: counters, in Python and with a Lua script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from sdpatterns.core.step import GONE, UNCHANGED, Repeats, Script, Step, unchanged
from sdpatterns.ports.states import Cells

__all__ = ["Add", "AddByScript", "AddMany", "Drop", "Explode", "Look", "LookMany", "Put", "Swap", "Time", "add_each"]

Numbers = tuple[int, ...]

KEEP_S = 3600.0


class Add:
    """Adds to a counter; answers with what it was before and the store's time."""

    repeats: ClassVar[Repeats] = "unsafe"
    script: Script[tuple[int, int]] | None = None

    def __init__(self, amount: int = 1, *, wake: Sequence[str] = (), keep_s: float = KEEP_S) -> None:
        self.amount = amount
        self.wake = wake
        self.keep_s = keep_s

    def __call__(self, states: Sequence[Numbers | None], now_us: int, /) -> Step[Numbers, tuple[int, int]]:
        [state] = states
        before = state[0] if state else 0
        return [(before + self.amount,)], (before, now_us), [self.keep_s], self.wake


class AddScript:
    """The same in Lua."""

    name = "contract-add/1"
    source = """
return function(states, now, args)
  local before = 0
  if states[1] then before = tonumber(string.match(states[1], '^1:(-?%d+)$')) end
  local after = string.format('1:%.0f', before + tonumber(args[1]))
  local answer = {string.format('%.0f', before), string.format('%.0f', now)}
  return {after}, answer, {tonumber(args[2])}, {}
end
"""

    def __init__(self, step: Add) -> None:
        self._step = step

    def args(self) -> Sequence[str | bytes]:
        """How much to add, and for how many milliseconds to keep it."""
        return [str(self._step.amount), str(int(self._step.keep_s * 1000))]

    def answer(self, reply: Sequence[bytes]) -> tuple[int, int]:
        """What was there before, and the store's time."""
        return (int(reply[0]), int(reply[1]))


class AddByScript(Add):
    """`Add` with a script, for a store that runs Lua. Others run the Python."""

    script: Script[tuple[int, int]] | None

    def __init__(self, amount: int = 1) -> None:
        super().__init__(amount)
        self.script = AddScript(self)


class Time:
    """Answers with the store's time and writes it, so that the cell remembers it."""

    repeats: ClassVar[Repeats] = "unsafe"
    script: Script[int] | None = None

    def __call__(self, states: Sequence[Numbers | None], now_us: int, /) -> Step[Numbers, int]:
        return [(now_us,)], now_us, [KEEP_S], ()


class Put:
    """Writes any value."""

    repeats: ClassVar[Repeats] = "harmless"
    script: Script[None] | None = None

    def __init__(self, value: Any, *, keep_s: float = KEEP_S) -> None:
        self.value = value
        self.keep_s = keep_s

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Step[Any, None]:
        return [self.value], None, [self.keep_s], ()


class Look:
    """Answers with the state and writes nothing."""

    repeats: ClassVar[Repeats] = "harmless"
    script: Script[Any] | None = None

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Step[Any, Any]:
        return unchanged(states[0])


class Drop:
    """Drops the cell; answers with what it was."""

    repeats: ClassVar[Repeats] = "unsafe"
    script: Script[Any] | None = None

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Step[Any, Any]:
        return [GONE], states[0], [0.0], ()


class Explode:
    """A transition with a bug in it."""

    repeats: ClassVar[Repeats] = "unsafe"
    script: Script[None] | None = None

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Step[Any, None]:
        raise self.error


class AddMany:
    """Adds one amount to each cell; answers with what they were. `UNCHANGED` for an amount of None.

    With `before_raising` it raises that instead, once it has seen the states.
    """

    repeats: ClassVar[Repeats] = "unsafe"
    script: Script[list[int]] | None = None

    def __init__(
        self,
        *amounts: int | None,
        raising: Exception | None = None,
        allowed: Callable[[list[int]], bool] = lambda _: True,
        wake: Sequence[str] = (),
    ) -> None:
        self.amounts = amounts
        self.raising = raising
        self.allowed = allowed
        self.wake = wake

    def __call__(self, states: Sequence[Numbers | None], now_us: int, /) -> Step[Numbers, list[int]]:
        before = [state[0] if state else 0 for state in states]
        if self.raising is not None:
            raise self.raising
        refused = not self.allowed(before)
        after = [
            UNCHANGED if amount is None or refused else (old + amount,)
            for old, amount in zip(before, self.amounts, strict=True)
        ]
        return (after, before, [KEEP_S] * len(after), self.wake)


class Swap:
    """Drops the first cell and gives its state to the second."""

    repeats: ClassVar[Repeats] = "unsafe"
    script: Script[None] | None = None

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Step[Any, None]:
        return ([GONE, states[0]], None, [0.0, KEEP_S], ())


class LookMany:
    """Answers with the states and writes nothing."""

    repeats: ClassVar[Repeats] = "harmless"
    script: Script[list[Any]] | None = None

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Step[Any, list[Any]]:
        return unchanged(list(states), len(states))


async def add_each(cells: Cells[tuple[int, ...]], key: str, times: int) -> list[int]:
    """So many steps of one caller; what each of them found."""
    return [(await cells.transact(key, Add()))[0] for _ in range(times)]
