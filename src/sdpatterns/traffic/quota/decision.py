"""The quota's arithmetic: pure, in whole microseconds.

The state of a cell is, for each kind of period, when the one that is being counted ends and how
much was used in it. A count lasts until that end, also if the zone or its table changes meanwhile.

```
caller: "by my calendar the month ends then"  -->  [ now within it? ] -- no --> "it is so late", nothing done
                                                          | yes
                                                [ all periods have room? ] --> counted in all, or in none
```

Only callers know calendars, and only the store's time counts. The step therefore checks the caller's periods by
the store's time: a caller with a wrong clock works its periods out again, and never counts in a wrong month.

| step | what it does to the cell |
|---|---|
| `Use` | adds the cost to every period, if it fits into each; else nothing |
| `Adjust` | corrects what a request has cost, in those of its periods that still last |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, TypeAlias

from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.step import Repeats, Step, unchanged
from sdpatterns.errors import CodecError
from sdpatterns.traffic.quota.script import Count

__all__ = ["ANY", "Adjust", "Counted", "CountsCodec", "PeriodLimit", "State", "Usage", "Use"]

ANY = 2**52
"""How many pass in a period that a plan does not name."""


class Usage(NamedTuple):
    """How much was used in the period of this kind that ends at `end_us`."""

    kind: int
    end_us: int
    used: int


State: TypeAlias = tuple[Usage, ...]


class PeriodLimit(NamedTuple):
    """A period by the caller's calendar, and how many the plan lets pass in it."""

    kind: int
    start_us: int
    end_us: int
    most: int


class Counted(NamedTuple):
    """What a step answers. `usages` are those of its periods, in their order, as they stand now."""

    in_time: bool
    allowed: bool
    now_us: int
    usages: State


class CountsCodec:
    """Three numbers for each usage, as the decimal text of `IntegersCodec`."""

    __slots__ = ("_codec",)
    version = 1

    def __init__(self) -> None:
        self._codec = IntegersCodec(self.version)

    def encode(self, value: State, /) -> bytes:
        """`((0, 99, 5),)` becomes `1:0 99 5`."""
        return self._codec.encode(tuple(number for usage in value for number in usage))

    def decode(self, data: bytes, /) -> State:
        """The way back."""
        numbers = self._codec.decode(data)
        if len(numbers) % 3:
            raise CodecError(f"not the usages of a quota: {data[:40]!r}")
        return tuple(Usage(*numbers[at : at + 3]) for at in range(0, len(numbers), 3))


CODEC = CountsCodec()


class Use:
    """Add `cost` to every period, if all have room for it. With `look` nothing is changed.

    Keeps: no period ever holds more than its plan's `most` by this step; a refused request changes
    nothing; a caller with wrong periods changes nothing.
    """

    __slots__ = ("_script", "cost", "limits", "look")
    # A second run would count the request twice.
    repeats: ClassVar[Repeats] = "unsafe"

    def __init__(self, limits: Sequence[PeriodLimit], cost: int, *, look: bool = False) -> None:
        self.limits = limits
        self.cost = cost
        self.look = look
        self._script: Count[Counted] | None = None

    @property
    def script(self) -> Count[Counted]:
        """The same in Lua, made once, because the common step of a plan is one object."""
        if self._script is None:
            numbers = [self.cost, *(number for limit in self.limits for number in limit)]
            self._script = Count(["look" if self.look else "use", *map(str, numbers)], self._read)
        return self._script

    def __call__(self, states: Sequence[State | None], now_us: int, /) -> Step[State, Counted]:
        now_us = int(now_us)
        lasting = {usage.kind: usage for usage in states[0] or () if usage.end_us > now_us}
        before = tuple(lasting.get(limit.kind) or Usage(limit.kind, limit.end_us, 0) for limit in self.limits)
        in_time = all(limit.start_us <= now_us < limit.end_us for limit in self.limits)
        fits = all(usage.used + self.cost <= limit.most for usage, limit in zip(before, self.limits, strict=True))
        if not in_time or not fits or self.look:
            return unchanged(Counted(in_time, in_time and fits, now_us, before))
        after = tuple(usage._replace(used=usage.used + self.cost) for usage in before)
        others = tuple(usage for kind, usage in lasting.items() if all(kind != limit.kind for limit in self.limits))
        written = (*after, *others)
        counted = Counted(in_time=True, allowed=True, now_us=now_us, usages=after)
        return (written,), counted, (_keep_s(written, now_us),), ()

    def _read(self, reply: Sequence[bytes]) -> Counted:
        """The answer, worked out again from the time and the state that the server has found."""
        return self((CODEC.decode(reply[1]) if reply[1] else None,), int(reply[0]))[1]


class Adjust:
    """Add `change` to what was used in the periods in which a request was counted, while they last.

    Keeps: a usage is never below 0. It may be above what the plan lets pass, because it says what has happened.
    """

    __slots__ = ("change", "taken")
    repeats: ClassVar[Repeats] = "unsafe"

    def __init__(self, taken: Sequence[Usage], change: int) -> None:
        self.taken = taken
        self.change = change

    @property
    def script(self) -> Count[Counted]:
        """The same in Lua."""
        numbers: list[int] = [self.change]
        for usage in self.taken:
            numbers += usage.kind, usage.end_us
        return Count(["adjust", *map(str, numbers)], self._read)

    def __call__(self, states: Sequence[State | None], now_us: int, /) -> Step[State, Counted]:
        now_us = int(now_us)
        lasting = [usage for usage in states[0] or () if usage.end_us > now_us]
        mine = {(usage.kind, usage.end_us) for usage in self.taken}
        after = tuple(
            usage._replace(used=max(0, usage.used + self.change)) if usage[:2] in mine else usage for usage in lasting
        )
        adjusted = tuple(usage for usage in after if usage[:2] in mine)
        if not adjusted:
            return unchanged(Counted(in_time=True, allowed=True, now_us=now_us, usages=()))
        counted = Counted(in_time=True, allowed=True, now_us=now_us, usages=adjusted)
        return (after,), counted, (_keep_s(after, now_us),), ()

    def _read(self, reply: Sequence[bytes]) -> Counted:
        return self((CODEC.decode(reply[1]) if reply[1] else None,), int(reply[0]))[1]


def _keep_s(state: State, now_us: int) -> float:
    return (max(usage.end_us for usage in state) - now_us) / 1e6
