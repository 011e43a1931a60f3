"""The limiter's steps: pure, in whole microseconds, the same for every algorithm.

An `Algorithm` says what one request does to the numbers of one rate, and when the request may start. The
steps make one atomic decision of that over all rates and cells:

| step | what it does to the cells |
|---|---|
| `Reserve` | moves every rate on by the cost, if every one may start soon enough; else nothing |
| `Cancel` | puts a cell back as the request found it, if no other request came after it |

The Lua chunk (`reserve.lua`) decides alike. It answers with the time and the states that it found, and Python
works out the rest from them with the function that it would have run itself.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.script import Request, chunk
from sdpatterns.core.step import GONE, Repeats, Step, unchanged
from sdpatterns.errors import CodecError
from sdpatterns.traffic.ratelimit.algorithm import Algorithm, Numbers
from sdpatterns.traffic.ratelimit.answer import CellState, Decision, Limit, decision_of

__all__ = ["CODEC", "Cancel", "Reservation", "Reserve", "decide", "packed", "pause_us"]

A = TypeVar("A")

_FRAME = chunk(__name__, "reserve.lua")


class CellCodec:
    """The numbers of each rate after how many they are; a single number stands alone."""

    __slots__ = ("_codec",)
    version = 1

    def __init__(self) -> None:
        self._codec = IntegersCodec(self.version)

    def encode(self, value: CellState, /) -> bytes:
        """`5` becomes `1:5`, and `((5, 7), (3,))` becomes `1:2 5 7 1 3`."""
        if not isinstance(value, tuple):
            return self._codec.encode((int(value),))
        return self._codec.encode(tuple(number for numbers in value for number in (len(numbers), *numbers)))

    def decode(self, data: bytes, /) -> CellState:
        """The way back."""
        # The common state, read at a third of the cost.
        if data[:2] == b"1:" and data[2:].isdigit():
            return int(data[2:])
        words, at, found = self._codec.decode(data), 0, []
        if len(words) == 1:
            return words[0]
        while at < len(words):
            end = at + 1 + words[at]
            if not at < end <= len(words):
                raise CodecError(f"not the numbers of a limit: {data[:40]!r}")
            found.append(words[at + 1 : end])
            at = end
        return tuple(found)


CODEC = CellCodec()


class Reservation(NamedTuple):
    """What a request got of one cell: the state it found, the one that stands now, and when each rate lets it start."""

    allowed: bool
    now_us: int
    limits: Sequence[Limit]
    found: CellState | None
    stands: Sequence[Numbers]
    starts_us: Sequence[int]


class Reserve:
    """Reserve `cost` on every rate of the cells, if the longest wait is within `wait_max_us`.

    `cells` holds the limits of each. Keeps: requests that wait until they may start never exceed any of
    the rates; a refused request changes nothing in any cell. With `look` it never changes anything.
    """

    __slots__ = ("_script", "cells", "cost", "look", "wait_max_us")
    # A second run never lets too many through, but it may refuse what the first one let pass: what
    # to do when the reply is lost is therefore the owner's choice (`on_outage`).
    repeats: ClassVar[Repeats] = "unsafe"

    def __init__(
        self, cells: Sequence[Sequence[Limit]], cost: int, wait_max_us: float = 0.0, *, look: bool = False
    ) -> None:
        self.cells = cells
        self.cost = cost
        self.wait_max_us = int(wait_max_us)
        self.look = look
        self._script: _Script[Sequence[Reservation]] | None = None

    def reservations(self, states: Sequence[CellState | None], now_us: float) -> list[Reservation]:
        """What the request gets of each cell: something of all of them or of none."""
        now_us, allowed, made = int(now_us), True, []
        if len(states) == 1 and len(self.cells[0]) == 1:
            return [self._of_one_rate(self.cells[0], states[0], now_us)]
        for limits, state in zip(self.cells, states, strict=True):
            before = _numbers_of(state, limits)
            moves = [
                limit.algorithm.advance(numbers, now_us, self.cost, limit.params)
                for limit, numbers in zip(limits, before, strict=True)
            ]
            allowed = allowed and all(
                start_us - now_us <= min(self.wait_max_us, limit.ahead_max_us)
                for limit, (_, start_us) in zip(limits, moves, strict=True)
            )
            made.append((limits, state, before, moves))
        changes = allowed and not self.look
        return [
            Reservation(
                allowed, now_us, limits, found,
                [after for after, _ in moves] if changes else before, [start_us for _, start_us in moves],
            )
            for limits, found, before, moves in made
        ]  # fmt: skip

    def _of_one_rate(self, limits: Sequence[Limit], found: CellState | None, now_us: int) -> Reservation:
        # The same without the loops, because nearly every request is one to one rate of one cell.
        [limit], [before] = limits, _numbers_of(found, limits)
        after, start_us = limit.algorithm.advance(before, now_us, self.cost, limit.params)
        allowed = start_us - now_us <= self.wait_max_us and start_us - now_us <= limit.ahead_max_us
        return Reservation(
            allowed, now_us, limits, found, (after if allowed and not self.look else before,), (start_us,)
        )

    def args(self) -> list[bytes]:
        """The request as the chunk takes it."""
        words: list[object] = ["look" if self.look else "reserve", self.cost, len(self.cells[0][0].params)]
        for limits in self.cells:
            words.append(len(limits))
            for limit in limits:
                words += (min(self.wait_max_us, limit.ahead_max_us), *limit.params)
        return [str(word).encode() for word in words]

    def read(self, reply: Sequence[bytes]) -> list[Reservation]:
        """The chunk's answer."""
        return self.reservations([CODEC.decode(text) if text else None for text in reply[1:]], int(reply[0]))

    @property
    def script(self) -> _Script[Sequence[Reservation]] | None:
        """The same in Lua, made once, because the common step of a limiter is one object."""
        if self._script is None:
            self._script = _script(self.cells[0][0].algorithm, self.args(), self.read)
        return self._script

    def __call__(self, states: Sequence[CellState | None], now_us: float, /) -> Step[CellState, Sequence[Reservation]]:
        made = self.reservations(states, now_us)
        if not made[0].allowed or self.look:
            return unchanged(made, len(made))
        return [packed(one.stands) for one in made], made, [_keep_s(one) for one in made], ()


class Cancel:
    """Put a cell back as the request found it, if its state is still the one that the request left.

    A slot with another one behind it passes unused.
    """

    __slots__ = ("idle_us", "made")
    # Once a slot is given back, the next request may leave the very same state, and a late copy of this
    # step would give away the slot of that one.
    repeats: ClassVar[Repeats] = "unsafe"

    def __init__(self, made: Reservation) -> None:
        self.made = made
        self.idle_us = 0 if made.found is None else _idle_at_us(made.limits, _numbers_of(made.found, made.limits))

    @property
    def script(self) -> _Script[None] | None:
        """The same in Lua."""
        found = "" if self.made.found is None else CODEC.encode(self.made.found).decode()
        args = ["cancel", CODEC.encode(packed(self.made.stands)).decode(), found, str(self.idle_us)]
        return _script(self.made.limits[0].algorithm, args, lambda _: None)

    def __call__(self, states: Sequence[CellState | None], now_us: float, /) -> Step[CellState, None]:
        if states[0] != packed(self.made.stands):
            return unchanged(None)
        if self.made.found is None or self.idle_us <= now_us:
            return (GONE,), None, (0.0,), ()
        return (self.made.found,), None, ((self.idle_us - now_us) / 1e6,), ()


def decide(reservations: Sequence[Reservation]) -> Decision:
    """The decision on a request that got these reservations, or that these refused."""
    made = reservations[0]
    if len(reservations) == len(made.limits) == 1:
        wait_us = 0 if made.allowed else made.starts_us[0] - made.now_us
        return decision_of(made.limits[0], made.stands[0], made.now_us, wait_us)
    found = [
        decision_of(limit, numbers, made.now_us, 0.0 if made.allowed else start_us - made.now_us)
        for made in reservations
        for limit, numbers, start_us in zip(made.limits, made.stands, made.starts_us, strict=True)
    ]
    # Of a refused request the rate with the longest wait binds, and that one has a wait.
    return max(found, key=lambda one: (one.wait_us, -one.remaining))


def pause_us(reservations: Sequence[Reservation]) -> int:
    """How long the request that got these reservations has to wait before it starts."""
    return max(max(made.starts_us) - made.now_us for made in reservations)


def _numbers_of(state: CellState | None, limits: Sequence[Limit]) -> Sequence[Numbers]:
    """The numbers of each rate; a state may hold more rates than there are now, or fewer."""
    if state is None:
        return [limit.algorithm.initial for limit in limits]
    found = state if isinstance(state, tuple) else ((int(state),),)
    if len(found) == len(limits):
        return found
    return [*found, *(limit.algorithm.initial for limit in itertools.islice(limits, len(found), None))][: len(limits)]


def packed(numbers: Sequence[Numbers]) -> CellState:
    """The state of a cell with these numbers of its rates."""
    return numbers[0][0] if len(numbers) == 1 and len(numbers[0]) == 1 else tuple(numbers)


def _idle_at_us(limits: Sequence[Limit], numbers: Sequence[Numbers]) -> int:
    if len(limits) == 1:
        return limits[0].algorithm.idle_at_us(numbers[0], limits[0].params)
    return max(
        limit.algorithm.idle_at_us(of_rate, limit.params) for limit, of_rate in zip(limits, numbers, strict=True)
    )


def _keep_s(made: Reservation) -> float:
    return (_idle_at_us(made.limits, made.stands) - made.now_us) / 1e6


def _script(algorithm: Algorithm, args: Sequence[str | bytes], read: Any) -> _Script[Any] | None:
    return None if algorithm.lua is None else _Script(algorithm.name, algorithm.lua, args, read)


class _Script(Request[A]):
    """A request to the frame behind the chunk of an algorithm."""

    __slots__ = ("name", "source")

    def __init__(self, name: str, lua: str, args: Sequence[str | bytes], read: Callable[[Sequence[bytes]], A]) -> None:
        super().__init__(args, read)
        self.name = f"{name}/1"
        self.source = _source(lua)


@functools.lru_cache
def _source(lua: str) -> str:
    # One object for each algorithm, because its hash is then worked out once.
    return f"local advance_alone\n{lua}{_FRAME}"
