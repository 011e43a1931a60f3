"""The quota's arithmetic: pure, in whole microseconds.

The state of a cell is, for each kind of period, when the one that is being counted ends and how
much was used in it. A count lasts until its own end, whatever zone or table of zones comes after.

```
caller: "by my calendar the month ends then"  -->  [ now within it? ] -- no --> "it is so late", nothing done
                                                          | yes
                                                [ all periods have room? ] --> counted in all, or in none
```

Only callers know calendars. The store's time judges what they say, so that a caller whose clock is
off turns its page and asks again, and never counts in a wrong month.

| step | what it does to the cell |
|---|---|
| `Take` | adds the cost to every period, if it fits into each; else nothing |
| `Amend` | corrects what a request has cost, in those of its periods that still last |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, TypeAlias

from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.step import UNCHANGED, Repeats, Step
from sdpatterns.errors import CodecError
from sdpatterns.traffic.quota.twin import Count

__all__ = ["ANY", "Amend", "Bound", "Counted", "CountsCodec", "State", "Take", "Tally"]

ANY = 2**52
"""How many pass in a period that a plan does not name."""


class Tally(NamedTuple):
    """What was used in the period of this kind that ends then."""

    kind: int
    end_us: int
    used: int


State: TypeAlias = tuple[Tally, ...]


class Bound(NamedTuple):
    """The period of a kind as the caller's calendar has it, and how many its plan lets pass in it."""

    kind: int
    start_us: int
    end_us: int
    most: int


class Counted(NamedTuple):
    """What a step answers. `tallies` are those of its periods, in their order, as they stand now."""

    in_time: bool
    allowed: bool
    now_us: int
    tallies: State


class CountsCodec:
    """Three numbers for each tally, as the decimal text of `IntegersCodec`."""

    __slots__ = ("_codec",)
    version = 1

    def __init__(self) -> None:
        self._codec = IntegersCodec(self.version)

    def encode(self, value: State, /) -> bytes:
        """`((0, 99, 5),)` becomes `1:0 99 5`."""
        return self._codec.encode(tuple(number for tally in value for number in tally))

    def decode(self, data: bytes, /) -> State:
        """The same way back."""
        numbers = self._codec.decode(data)
        if len(numbers) % 3:
            raise CodecError(f"not the tallies of a quota: {data[:40]!r}")
        return tuple(Tally(*numbers[at : at + 3]) for at in range(0, len(numbers), 3))


CODEC = CountsCodec()


class Take:
    """Add `cost` to every period, if all have room for it. With `look` nothing is changed.

    Keeps: no period ever holds more than its plan's `most` by this step; a refused request changes
    nothing; a caller with the wrong page of the calendar changes nothing.
    """

    __slots__ = ("_twin", "bounds", "cost", "look")
    # A second run would count the request twice.
    repeats: ClassVar[Repeats] = "unsafe"

    def __init__(self, bounds: Sequence[Bound], cost: int, *, look: bool = False) -> None:
        self.bounds = bounds
        self.cost = cost
        self.look = look
        self._twin: Count[Counted] | None = None

    @property
    def twin(self) -> Count[Counted]:
        """The same in Lua, made once: the everyday step of a plan is one object."""
        if self._twin is None:
            numbers = [self.cost, *(number for bound in self.bounds for number in bound)]
            self._twin = Count(["look" if self.look else "take", *map(str, numbers)], self._read)
        return self._twin

    def __call__(self, state: State | None, now_us: int, /) -> Step[State, Counted]:
        now_us = int(now_us)
        lasting = {tally.kind: tally for tally in state or () if tally.end_us > now_us}
        before = tuple(lasting.get(bound.kind) or Tally(bound.kind, bound.end_us, 0) for bound in self.bounds)
        in_time = all(bound.start_us <= now_us < bound.end_us for bound in self.bounds)
        fits = all(tally.used + self.cost <= bound.most for tally, bound in zip(before, self.bounds, strict=True))
        if not in_time or not fits or self.look:
            return UNCHANGED, Counted(in_time, in_time and fits, now_us, before), 0.0, ()
        after = tuple(tally._replace(used=tally.used + self.cost) for tally in before)
        others = tuple(tally for kind, tally in lasting.items() if all(kind != bound.kind for bound in self.bounds))
        written = (*after, *others)
        return written, Counted(in_time=True, allowed=True, now_us=now_us, tallies=after), _keep_s(written, now_us), ()

    def _read(self, reply: Sequence[bytes]) -> Counted:
        """The answer, worked out again from the time and the state that the server has found."""
        return self(CODEC.decode(reply[1]) if reply[1] else None, int(reply[0]))[1]


class Amend:
    """Add `change` to what was used in the periods in which a request was counted, while they last.

    Keeps: nothing sinks below 0. It may rise above what a plan lets pass, because it says what has happened.
    """

    __slots__ = ("change", "taken")
    repeats: ClassVar[Repeats] = "unsafe"

    def __init__(self, taken: Sequence[Tally], change: int) -> None:
        self.taken = taken
        self.change = change

    @property
    def twin(self) -> Count[Counted]:
        """The same in Lua."""
        numbers: list[int] = [self.change]
        for tally in self.taken:
            numbers += tally.kind, tally.end_us
        return Count(["amend", *map(str, numbers)], self._read)

    def __call__(self, state: State | None, now_us: int, /) -> Step[State, Counted]:
        now_us = int(now_us)
        lasting = [tally for tally in state or () if tally.end_us > now_us]
        mine = {(tally.kind, tally.end_us) for tally in self.taken}
        after = tuple(
            tally._replace(used=max(0, tally.used + self.change)) if tally[:2] in mine else tally for tally in lasting
        )
        amended = tuple(tally for tally in after if tally[:2] in mine)
        if not amended:
            return UNCHANGED, Counted(in_time=True, allowed=True, now_us=now_us, tallies=()), 0.0, ()
        return after, Counted(in_time=True, allowed=True, now_us=now_us, tallies=amended), _keep_s(after, now_us), ()

    def _read(self, reply: Sequence[bytes]) -> Counted:
        return self(CODEC.decode(reply[1]) if reply[1] else None, int(reply[0]))[1]


def _keep_s(state: State, now_us: int) -> float:
    return (max(tally.end_us for tally in state) - now_us) / 1e6
