"""The limiter's arithmetic: pure, in whole microseconds.

The state of a cell is one theoretical arrival time for each of its rates (see `algorithms.gcra`),
a bare number where there is one rate. It says nothing else: how many are left, and when, follows
from it, the rate and the time. A cell whose instants have all passed equals a fresh one.

| step | what it does to the cells |
|---|---|
| `Book`, `BookMany` | moves every instant on by the cost, if each stays in reach; else nothing |
| `GiveBack` | takes a booking back, where nobody has booked after it |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, TypeAlias

from sdpatterns.algorithms.gcra import booked
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.step import GONE, UNCHANGED, ManyStep, Repeats, Step
from sdpatterns.traffic.ratelimit.answer import Decision, Limit, Slot, decision_of
from sdpatterns.traffic.ratelimit.twin import Gcra

__all__ = [
    "Book",
    "BookMany",
    "Booking",
    "GiveBack",
    "Slot",
    "State",
    "StateCodec",
    "decide",
    "instants",
    "pause_us",
]

State: TypeAlias = float | tuple[float, ...]
"""Whole microseconds. In memory floats, which are exact below 2**53 and faster than such ints."""


class StateCodec:
    """One rate or many, as the decimal text of `IntegersCodec`."""

    __slots__ = ("_codec",)
    version = 1

    def __init__(self) -> None:
        self._codec = IntegersCodec(self.version)

    def encode(self, value: State, /) -> bytes:
        """`5` becomes `1:5`, and `(5, 7)` becomes `1:5 7`."""
        return self._codec.encode(tuple(map(int, _tats(value))))

    def decode(self, data: bytes, /) -> State:
        """The same way back."""
        return _state(self._codec.decode(data))


class Booking(NamedTuple):
    """What a step answers: whether it booked, when, and the instants of all rates after it."""

    allowed: bool
    now_us: float
    tats: tuple[float, ...]


def decide(slots: Sequence[Slot], cost: int) -> Decision:
    """The decision on a request that took these slots (or that these refused)."""
    found = [
        _on_one(limit, tat, booking, cost)
        for _, limits, booking in slots
        for limit, tat in zip(limits, booking.tats, strict=True)
    ]
    return found[0] if len(found) == 1 else max(found, key=_how_binding)


def _on_one(limit: Limit, tat: float, booking: Booking, cost: int) -> Decision:
    ahead_us = max(0.0, tat - booking.now_us)
    wait_us = 0.0 if booking.allowed else ahead_us + cost * limit.interval_us - limit.tolerance_us
    return decision_of(limit, ahead_us, wait_us)


def _how_binding(decision: Decision) -> tuple[float, float]:
    limit = decision.binding
    return decision.wait_us, -((limit.tolerance_us - decision.ahead_us) // limit.interval_us)


def pause_us(slots: Sequence[Slot]) -> float:
    """How long the request that booked these slots has to wait until all of them have come."""
    return max(
        float(tat - limit.tolerance_us - booking.now_us)
        for _, limits, booking in slots
        for limit, tat in zip(limits, booking.tats, strict=True)
    )


def _tats(state: State) -> tuple[float, ...]:
    return state if isinstance(state, tuple) else (state,)


def _state(tats: tuple[float, ...]) -> State:
    return tats[0] if len(tats) == 1 else tats


def instants(state: State | None, count: int) -> tuple[float, ...]:
    """The instants of so many rates; those of a rate that the state has not seen are long past."""
    tats = () if state is None else _tats(state)
    return tats if len(tats) == count else (*tats, *(0.0 for _ in range(count)))[:count]


class Book:
    """Book `cost` on every rate of a cell, if the longest wait is within `wait_max_us`.

    Keeps: requests that wait as long as their booking says never exceed any of the rates; a refused
    booking changes nothing. With `look` it never changes anything.
    """

    __slots__ = ("_twin", "cost", "limits", "look", "wait_max_us")
    # A second booking for a reply that was lost would never let too many through, but it may answer
    # no where the first one answered yes; what to do then is the owner's choice (`on_outage`).
    repeats: ClassVar[Repeats] = "unsafe"

    def __init__(self, limits: Sequence[Limit], cost: int, wait_max_us: float = 0.0, *, look: bool = False) -> None:
        self.limits = limits
        self.cost = cost
        self.wait_max_us = wait_max_us
        self.look = look
        self._twin: Gcra[Booking] | None = None

    @property
    def twin(self) -> Gcra[Booking]:
        """The same in Lua, made once: the everyday step of a limiter is one object."""
        if self._twin is None:
            self._twin = _book_twin((self.limits,), self.cost, self.wait_max_us, look=self.look)
        return self._twin

    def __call__(self, state: State | None, now_us: float, /) -> Step[State, Booking]:
        before = instants(state, len(self.limits))
        allowed, after = _moved(before, self.limits, self.cost, now_us, self.wait_max_us)
        if not allowed or self.look:
            return UNCHANGED, Booking(allowed, now_us, before), 0.0, ()
        return _state(after), Booking(allowed, now_us, after), (max(after) - now_us) / 1e6, ()


class BookMany:
    """`Book` on several cells: on all of them or on none. `limits` holds those of each cell."""

    __slots__ = ("cost", "limits", "look", "wait_max_us")
    repeats: ClassVar[Repeats] = "unsafe"

    def __init__(
        self, limits: Sequence[Sequence[Limit]], cost: int, wait_max_us: float = 0.0, *, look: bool = False
    ) -> None:
        self.limits = limits
        self.cost = cost
        self.wait_max_us = wait_max_us
        self.look = look

    @property
    def twin(self) -> Gcra[Booking]:
        """The same in Lua."""
        return _book_twin(self.limits, self.cost, self.wait_max_us, look=self.look)

    def __call__(self, states: Sequence[State | None], now_us: float, /) -> ManyStep[State, Booking]:
        cells = [(limits, instants(state, len(limits))) for limits, state in zip(self.limits, states, strict=True)]
        moves = [_moved(before, limits, self.cost, now_us, self.wait_max_us) for limits, before in cells]
        allowed = all(fits for fits, _ in moves)
        if not allowed or self.look:
            now = tuple(tat for _, before in cells for tat in before)
            return [UNCHANGED for _ in cells], Booking(allowed, now_us, now), [0.0 for _ in cells], ()
        keeps_s = [(max(after) - now_us) / 1e6 for _, after in moves]
        booking = Booking(allowed, now_us, tuple(tat for _, after in moves for tat in after))
        return [_state(after) for _, after in moves], booking, keeps_s, ()


def _moved(
    tats: tuple[float, ...], limits: Sequence[Limit], cost: int, now_us: float, wait_max_us: float
) -> tuple[bool, tuple[float, ...]]:
    allowed, after = True, []
    for limit, tat in zip(limits, tats, strict=True):
        moved, wait_us = booked(tat, now_us, cost * limit.interval_us, limit.tolerance_us)
        after.append(moved)
        allowed = allowed and wait_us <= wait_max_us
    return allowed, tuple(after)


class GiveBack:
    """Take a booking of a cell back, for each rate on which nobody has booked after it.

    `tats` are the instants that the booking left. A slot with another behind it passes unused.
    """

    __slots__ = ("cost", "limits", "tats")
    # Once given back, the next booking may leave the very same instant: a late copy would take it.
    repeats: ClassVar[Repeats] = "unsafe"

    def __init__(self, limits: Sequence[Limit], cost: int, tats: tuple[float, ...]) -> None:
        self.limits = limits
        self.cost = cost
        self.tats = tats

    @property
    def twin(self) -> Gcra[None]:
        """The same in Lua."""
        words = ["back"]
        for limit, mine in zip(self.limits, self.tats, strict=True):
            words += (_whole(self.cost * limit.interval_us), _whole(mine))
        return Gcra(words, lambda _: None)

    def __call__(self, state: State | None, now_us: float, /) -> Step[State, None]:
        before = instants(state, len(self.limits))
        after = tuple(
            tat - self.cost * limit.interval_us if tat == mine else tat
            for limit, tat, mine in zip(self.limits, before, self.tats, strict=True)
        )
        if after == before:
            return UNCHANGED, None, 0.0, ()
        if max(after) <= now_us:
            return GONE, None, 0.0, ()
        return _state(after), None, (max(after) - now_us) / 1e6, ()


def _book_twin(cells: Sequence[Sequence[Limit]], cost: int, wait_max_us: float, *, look: bool) -> Gcra[Booking]:
    words = ["look" if look else "book", _whole(wait_max_us)]
    for limits in cells:
        words.append(str(len(limits)))
        for limit in limits:
            words += (_whole(cost * limit.interval_us), _whole(limit.tolerance_us))
    return Gcra(words, _read_booking)


def _read_booking(reply: Sequence[bytes]) -> Booking:
    return Booking(reply[0] == b"1", int(reply[1]), tuple(map(int, reply[2:])))


def _whole(number: float) -> str:
    return f"{number:.0f}"
