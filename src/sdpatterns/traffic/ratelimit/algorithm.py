"""How a limiter counts: what it asks of an algorithm, and GCRA, the default."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from sdpatterns.core.codec import Codec
from sdpatterns.core.step import ManyTransition, Transition
from sdpatterns.traffic.ratelimit.answer import Decision, Limit, Slot
from sdpatterns.traffic.ratelimit.config import Rate
from sdpatterns.traffic.ratelimit.decision import Book, Booking, BookMany, GiveBack, StateCodec, decide, pause_us

__all__ = ["GCRA", "Algorithm"]


class Algorithm(Protocol):
    """The steps of one way to count, and how to read what they answer."""

    @property
    def codec(self) -> Codec[Any]:
        """How a cell's state is stored."""
        ...

    @property
    def space(self) -> Sequence[str]:
        """What its cells are named after, behind the limiter; nothing for GCRA."""
        ...

    def limit(self, rate: Rate, scope: str) -> Limit:
        """A rate with what the steps need of it. Raises `ValueError` for one that means nothing here."""
        ...

    def book(
        self, limits: Sequence[Any], cost: int, wait_max_us: float = 0.0, *, look: bool = False
    ) -> Transition[Any, Any]:
        """The step that books on one cell, up to so far ahead; with `look` it changes nothing."""
        ...

    def book_many(
        self, limits: Sequence[Sequence[Any]], cost: int, wait_max_us: float = 0.0, *, look: bool = False
    ) -> ManyTransition[Any, Any]:
        """The step that books on several, or on none."""
        ...

    def bookings(self, limits: Sequence[Sequence[Limit]], answer: Any) -> Sequence[Any]:
        """What `book_many` answered, for each cell."""
        ...

    def give_back(self, limits: Sequence[Any], cost: int, booking: Any) -> Transition[Any, None]:
        """The step that takes a booking back, where nobody has booked after it."""
        ...

    def books_ahead(self, limits: Sequence[Limit]) -> bool:
        """Whether the steps can hold a later slot on these limits."""
        ...

    def decide(self, slots: Sequence[Slot], cost: int) -> Decision:
        """The decision on a request that took these slots, or that these refused."""
        ...

    def pause_us(self, slots: Sequence[Slot]) -> float:
        """How long the request that took these slots has to wait."""
        ...


@dataclasses.dataclass(frozen=True)
class GCRA:
    """`burst` at once, and one more each interval: see `algorithms.gcra`.

    Keeps: in any time t at most `burst + t / interval` pass. Costs: one instant for each rate, and
    a short way of its own in memory.
    """

    @property
    def codec(self) -> StateCodec:
        """The instants as text."""
        return StateCodec()

    @property
    def space(self) -> tuple[str, ...]:
        """Nothing: its cells have the limiter's own name."""
        return ()

    def limit(self, rate: Rate, scope: str) -> Limit:
        """The rate with its interval and its tolerance."""
        return Limit(rate, scope)

    def book(self, limits: Sequence[Any], cost: int, wait_max_us: float = 0.0, *, look: bool = False) -> Book:
        """The step that books on one cell."""
        return Book(limits, cost, wait_max_us, look=look)

    def book_many(
        self, limits: Sequence[Sequence[Any]], cost: int, wait_max_us: float = 0.0, *, look: bool = False
    ) -> BookMany:
        """The step that books on several."""
        return BookMany(limits, cost, wait_max_us, look=look)

    def bookings(self, limits: Sequence[Sequence[Limit]], answer: Booking) -> Sequence[Booking]:
        """The instants that belong to each cell."""
        found, at = [], 0
        for of_cell in limits:
            found.append(answer._replace(tats=answer.tats[at : at + len(of_cell)]))
            at += len(of_cell)
        return found

    def give_back(self, limits: Sequence[Any], cost: int, booking: Booking) -> GiveBack:
        """The step that takes a booking back."""
        return GiveBack(limits, cost, booking.tats)

    def books_ahead(self, limits: Sequence[Limit]) -> bool:
        """Always."""
        return True

    def decide(self, slots: Sequence[Slot], cost: int) -> Decision:
        """See `decide`."""
        return decide(slots, cost)

    def pause_us(self, slots: Sequence[Slot]) -> float:
        """See `pause_us`."""
        return pause_us(slots)
