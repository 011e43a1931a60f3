"""Limiters that keep a few whole numbers for each rate: the steps that all of them share.

A `Meter` says how a request moves these numbers on and when it may start, counting from the last
one that was booked; the steps make that one atomic decision over rates and cells. The state of a
cell is a tuple of such numbers for each of its rates.

| step | what it does to the cells |
|---|---|
| `Take`, `TakeMany` | moves every rate's numbers on, if all may start soon enough; else nothing |
| `Return` | puts a cell back as it was found, if nobody has taken from it since |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.step import GONE, UNCHANGED, ManyStep, Repeats, Step
from sdpatterns.core.twin import chunk
from sdpatterns.errors import CodecError
from sdpatterns.traffic.ratelimit.answer import Decision, Limit, Slot
from sdpatterns.traffic.ratelimit.config import Rate
from sdpatterns.traffic.ratelimit.twin import Metered

__all__ = [
    "AHEAD_ANY",
    "Meter",
    "MeteredLimit",
    "Return",
    "Take",
    "TakeMany",
    "Taking",
    "Words",
    "WordsCodec",
    "count_of",
]

Words: TypeAlias = tuple[int, ...]
State: TypeAlias = tuple[Words, ...]

AHEAD_ANY = 2**53
"""No bound of its own on how far ahead a meter books."""
_FRAME = chunk(__name__, "take.lua")


def count_of(rate: Rate, meter: str) -> int:
    """How many pass in a window. Raises `ValueError` for a burst, which means nothing to a window."""
    if rate.burst not in {None, rate.count}:
        raise ValueError(f"burst must be left out for a {meter}, which lets count pass in a window, got {rate.burst}")
    return rate.count


class WordsCodec:
    """Each rate's numbers after how many they are, as the decimal text of `IntegersCodec`."""

    __slots__ = ("_codec",)
    version = 1

    def __init__(self) -> None:
        self._codec = IntegersCodec(self.version)

    def encode(self, value: State, /) -> bytes:
        """`((5, 7), (3,))` becomes `1:2 5 7 1 3`."""
        return self._codec.encode(tuple(number for words in value for number in (len(words), *words)))

    def decode(self, data: bytes, /) -> State:
        """The same way back."""
        numbers, at, found = self._codec.decode(data), 0, []
        while at < len(numbers):
            end = at + 1 + numbers[at]
            if not at < end <= len(numbers):
                raise CodecError(f"not the numbers of a limit: {data[:40]!r}")
            found.append(numbers[at + 1 : end])
            at = end
        return tuple(found)


_CODEC = WordsCodec()


class MeteredLimit(Limit):
    """A rate as a meter sees it. `settings` are its numbers, the first how far ahead it books."""

    __slots__ = ("settings",)

    def __init__(self, rate: Rate, scope: str, settings: Words) -> None:
        super().__init__(rate, scope)
        self.settings = settings


class Taking(NamedTuple):
    """What a step answers for a cell: the state it found, what stands now, and when each rate lets it start."""

    allowed: bool
    now_us: int
    found: State | None
    stands: State
    starts_us: tuple[int, ...]


class Standing(Decision):
    """The decision of a meter, which counts what is left in its own way."""

    __slots__ = ("left", "most")

    left: int
    most: int

    @property
    def remaining(self) -> int:
        """How many more of cost 1 would pass now."""
        return self.left

    @property
    def limit(self) -> int:
        """How many pass at once when nothing was used."""
        return self.most


class Meter(ABC):
    """One way to count. All of it is pure, in whole microseconds, and `source` is the same in Lua."""

    name: ClassVar[str]
    source: ClassVar[str]
    fresh: ClassVar[Words]

    def __init_subclass__(cls, file: str = "", fresh: Words = ()) -> None:
        """`file` is the chunk beside the meter, and `fresh` the numbers of a rate that nobody has used."""
        cls.name = file.removesuffix(".lua")
        cls.source = chunk(cls.__module__, file) + _FRAME
        cls.fresh = fresh

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def codec(self) -> WordsCodec:
        """The numbers as text."""
        return _CODEC

    @property
    def space(self) -> tuple[str, ...]:
        """The mark of its cells, because the numbers in those of another algorithm mean something else."""
        return (self.name,)

    @abstractmethod
    def settings(self, rate: Rate) -> Words:
        """The numbers of a rate. Raises `ValueError` for one that means nothing here."""

    @abstractmethod
    def taken(self, words: Words, now_us: int, cost: int, settings: Words) -> tuple[Words, int]:
        """The numbers after one more request, and when that may start: never before an earlier one."""

    @abstractmethod
    def idle_at_us(self, words: Words, settings: Words) -> int:
        """When these numbers equal fresh ones, if nobody comes."""

    @abstractmethod
    def left(self, words: Words, now_us: int, settings: Words) -> int:
        """How many of cost 1 could start now."""

    def most(self, rate: Rate) -> int:
        """How many of cost 1 could start at once when nothing was used."""
        return rate.limit

    def books_ahead(self, limits: Sequence[Limit]) -> bool:
        """Whether a later slot can be held: with several rates it would start at another time than each counted."""
        return len(limits) == 1

    def limit(self, rate: Rate, scope: str) -> MeteredLimit:
        """The rate with its numbers."""
        return MeteredLimit(rate, scope, self.settings(rate))

    def book(self, limits: Sequence[Any], cost: int, wait_max_us: float = 0.0, *, look: bool = False) -> Take:
        """The step that takes from one cell."""
        return Take(self, (limits,), cost, wait_max_us, look=look)

    def book_many(
        self, limits: Sequence[Sequence[Any]], cost: int, wait_max_us: float = 0.0, *, look: bool = False
    ) -> TakeMany:
        """The step that takes from several."""
        return TakeMany(self, limits, cost, wait_max_us, look=look)

    def bookings(self, limits: Sequence[Sequence[Limit]], answer: Any) -> Sequence[Taking]:
        """What `book_many` answered, for each cell."""
        return tuple(answer)

    def give_back(self, limits: Sequence[Any], cost: int, booking: Taking) -> Return:
        """The step that takes a booking back."""
        return Return(self, limits, booking)

    def decide(self, slots: Sequence[Slot], cost: int) -> Decision:
        """The decision on a request that took these slots (or that these refused)."""
        found = [
            self._on_one(limit, words, start_us, taking)
            for _, limits, taking in slots
            for limit, words, start_us in zip(limits, taking.stands, taking.starts_us, strict=True)
        ]
        return max(found, key=lambda decision: (decision.wait_us, -decision.left))

    def pause_us(self, slots: Sequence[Slot]) -> float:
        """How long the request that took these slots has to wait."""
        return max(float(max(taking.starts_us) - taking.now_us) for _, _, taking in slots)

    def _on_one(self, limit: MeteredLimit, words: Words, start_us: int, taking: Taking) -> Standing:
        decision = Standing()
        decision.allowed = taking.allowed
        decision.binding = limit
        decision.ahead_us = max(0, self.idle_at_us(words, limit.settings) - taking.now_us)
        decision.wait_us = 0.0 if taking.allowed else start_us - taking.now_us
        decision.left = self.left(words, taking.now_us, limit.settings)
        decision.most = self.most(limit.rate)
        return decision


class _Request:
    """A request to one cell or several. `limits` holds those of each."""

    __slots__ = ("cost", "limits", "look", "meter", "wait_max_us")
    # For the same reason as `Book`: a second run may refuse what the first one let pass.
    repeats: ClassVar[Repeats] = "unsafe"

    def __init__(
        self,
        meter: Meter,
        limits: Sequence[Sequence[MeteredLimit]],
        cost: int,
        wait_max_us: float = 0.0,
        *,
        look: bool = False,
    ) -> None:
        self.meter = meter
        self.limits = limits
        self.cost = cost
        self.wait_max_us = int(wait_max_us)
        self.look = look

    def takings(self, states: Sequence[State | None], now_us: int) -> list[Taking]:
        """What the request meets in each cell, and what it leaves there if all of them allow it."""
        now_us = int(now_us)
        cells = [
            (limits, found, _words(self.meter, found, len(limits)))
            for limits, found in zip(self.limits, states, strict=True)
        ]
        moves = [
            [
                self.meter.taken(words, now_us, self.cost, limit.settings)
                for limit, words in zip(limits, before, strict=True)
            ]
            for limits, _, before in cells
        ]
        allowed = all(
            start_us - now_us <= min(self.wait_max_us, limit.settings[0])
            for (limits, _, _), moved in zip(cells, moves, strict=True)
            for limit, (_, start_us) in zip(limits, moved, strict=True)
        )
        changes = allowed and not self.look
        return [
            Taking(
                allowed, now_us, found,
                tuple(after for after, _ in moved) if changes else before, tuple(start_us for _, start_us in moved),
            )
            for (_, found, before), moved in zip(cells, moves, strict=True)
        ]  # fmt: skip

    def keep_s(self, cell: int, taking: Taking) -> float:
        """How long a cell differs from a fresh one."""
        return (_idle_at_us(self.meter, self.limits[cell], taking.stands) - taking.now_us) / 1e6

    def words(self) -> list[str]:
        """The request for the chunk."""
        width = len(self.limits[0][0].settings)
        words: list[object] = ["look" if self.look else "take", self.cost, self.wait_max_us, width]
        for limits in self.limits:
            words.append(len(limits))
            for limit in limits:
                words += limit.settings
        return [str(word) for word in words]

    def read(self, reply: Sequence[bytes]) -> list[Taking]:
        """The answer, worked out again from the time and the states that the server has found."""
        decode = self.meter.codec.decode
        return self.takings([decode(text) if text else None for text in reply[1:]], int(reply[0]))


class Take(_Request):
    """Take `cost` from every rate of a cell, if the longest wait is within `wait_max_us`.

    Keeps: requests that wait until their start never exceed any of the rates in their own terms; a
    refused request changes nothing. With `look` it never changes anything.
    """

    __slots__ = ()

    @property
    def twin(self) -> Metered[Taking]:
        """The same in Lua."""
        return Metered(_versioned(self.meter), self.meter.source, self.words(), lambda reply: self.read(reply)[0])

    def __call__(self, state: State | None, now_us: int, /) -> Step[State, Taking]:
        [taking] = self.takings([state], now_us)
        if not taking.allowed or self.look:
            return UNCHANGED, taking, 0.0, ()
        return taking.stands, taking, self.keep_s(0, taking), ()


class TakeMany(_Request):
    """`Take` from several cells: from all of them or from none."""

    __slots__ = ()

    @property
    def twin(self) -> Metered[Sequence[Taking]]:
        """The same in Lua."""
        return Metered(_versioned(self.meter), self.meter.source, self.words(), self.read)

    def __call__(self, states: Sequence[State | None], now_us: int, /) -> ManyStep[State, Sequence[Taking]]:
        takings = self.takings(states, now_us)
        if not takings[0].allowed or self.look:
            return [UNCHANGED for _ in takings], takings, [0.0 for _ in takings], ()
        keeps_s = [self.keep_s(cell, taking) for cell, taking in enumerate(takings)]
        return [taking.stands for taking in takings], takings, keeps_s, ()


class Return:
    """Put a cell back as the request found it, if its state is still the one that it left."""

    __slots__ = ("idle_us", "meter", "taking")
    # As with `GiveBack`: the next request may leave the very same state, and a late copy would take it back.
    repeats: ClassVar[Repeats] = "unsafe"

    def __init__(self, meter: Meter, limits: Sequence[MeteredLimit], taking: Taking) -> None:
        self.meter = meter
        self.taking = taking
        found = taking.found
        self.idle_us = 0 if found is None else _idle_at_us(meter, limits, found)

    @property
    def twin(self) -> Metered[None]:
        """The same in Lua."""
        encode, taking = self.meter.codec.encode, self.taking
        states = (encode(state or ()).decode() for state in (taking.stands, taking.found))
        return Metered(_versioned(self.meter), self.meter.source, ["back", *states, str(self.idle_us)], lambda _: None)

    def __call__(self, state: State | None, now_us: int, /) -> Step[State, None]:
        if state != self.taking.stands:
            return UNCHANGED, None, 0.0, ()
        if self.taking.found is None or self.idle_us <= now_us:
            return GONE, None, 0.0, ()
        return self.taking.found, None, (self.idle_us - now_us) / 1e6, ()


def _words(meter: Meter, state: State | None, count: int) -> State:
    found = state or ()
    return (*found, *(meter.fresh for _ in range(count - len(found))))[:count]


def _idle_at_us(meter: Meter, limits: Sequence[MeteredLimit], state: State) -> int:
    # A state may be of more rates than there are now, or of fewer.
    return max(meter.idle_at_us(words, limit.settings) for limit, words in zip(limits, state, strict=False))


def _versioned(meter: Meter) -> str:
    return f"{meter.name}/1"
