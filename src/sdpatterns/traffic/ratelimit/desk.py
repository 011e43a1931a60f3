"""Where bookings are made: which cells a key means, and all of one request's bookings at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sdpatterns.core.keys import check_key, join_key
from sdpatterns.core.runtime import Runtime, current
from sdpatterns.errors import SdpatternsError
from sdpatterns.ports.local import LocalCells
from sdpatterns.ports.spare import SpareCells
from sdpatterns.ports.states import Cells, DirectCells, Overflow, StateStore, check_store, where_of
from sdpatterns.traffic.ratelimit.algorithm import Algorithm
from sdpatterns.traffic.ratelimit.answer import Limit, RateKey, Slot, check_cost
from sdpatterns.traffic.ratelimit.config import Rate, Rates

__all__ = ["Desk"]

_GIVE_BACK_MAX_S = 5.0


class Desk:
    """The limits of one limiter on the cells of one store."""

    def __init__(
        self,
        name: str,
        rates: Rates,
        store: StateStore | None,
        *,
        algorithm: Algorithm,
        group: str | None,
        atomic: bool,
        keys_max: int,
        counts_here: bool,
    ) -> None:
        self.algorithm = algorithm
        self._scopes = _limits(rates, algorithm)
        self._plain = self._scopes.get("")
        self._everyday = None if self._plain is None else algorithm.book(self._plain, 1)
        self._at_once = atomic
        if store is not None:
            check_store(store)
        self.runtime: Runtime | None = None if store is None else store.runtime
        self.where = where_of(store)
        self.limits = tuple(limit for limits in self._scopes.values() for limit in limits)
        self.burst = min(limit.rate.limit for limit in self.limits)
        space = join_key("limiter", name, *algorithm.space)
        overflow: Overflow = "share" if self._plain else _overflow_of_scope
        self.cells: Cells[Any]
        if store is None:
            self.cells = LocalCells(space, keys_max=keys_max, overflow=overflow)
        else:
            self.cells = store.cells(space, algorithm.codec, group=group, keys_max=keys_max, overflow=overflow)
            if counts_here and not isinstance(self.cells, LocalCells):
                whose = f"RateLimiter {name!r}"
                self.cells = SpareCells(self.cells, whose, name, keys_max=keys_max, overflow=overflow)

    def places(self, key: RateKey) -> Sequence[tuple[str, Sequence[Limit]]]:
        """The cells of a key, and the limits of each."""
        if self._plain is not None:
            return ((check_key(key), self._plain),)
        if not isinstance(key, Mapping):
            raise TypeError(f"this limiter has scopes: its key is a mapping of {sorted(self._scopes)}, got {key!r}")
        if key.keys() != self._scopes.keys():
            raise ValueError(f"the key must name the scopes {sorted(self._scopes)}, got {sorted(key)}")
        return [(check_key(join_key(scope, check_key(key[scope]))), of) for scope, of in self._scopes.items()]

    async def book(self, key: RateKey, cost: int, wait_max_us: float = 0.0, *, look: bool = False) -> Sequence[Slot]:
        """The slots of a request, or, where it was refused, at least the ones that refused it."""
        if self._everyday is not None and cost == 1 and not wait_max_us and not look:
            cell = check_key(key)
            return (Slot(cell, self._plain or (), await self.cells.transact(cell, self._everyday)),)
        check_cost(cost, self.burst)
        places = self.places(key)
        if len(places) > 1 and self._at_once:
            return await self._book_at_once(places, cost, wait_max_us, look=look)
        return await self._book_in_order(places, cost, wait_max_us, look=look)

    async def _book_at_once(
        self, places: Sequence[tuple[str, Sequence[Limit]]], cost: int, wait_max_us: float, *, look: bool
    ) -> Sequence[Slot]:
        each = [limits for _, limits in places]
        step = self.algorithm.book_many(each, cost, wait_max_us, look=look)
        answer = await self.cells.transact_many([cell for cell, _ in places], step)
        bookings = self.algorithm.bookings(each, answer)
        return [Slot(cell, limits, booking) for (cell, limits), booking in zip(places, bookings, strict=True)]

    async def _book_in_order(
        self, places: Sequence[tuple[str, Sequence[Limit]]], cost: int, wait_max_us: float, *, look: bool
    ) -> Sequence[Slot]:
        slots: list[Slot] = []
        try:
            for cell, limits in places:
                step = self.algorithm.book(limits, cost, wait_max_us, look=look)
                booking = await self.cells.transact(cell, step)
                if not booking.allowed:
                    await self.give_back([] if look else slots, cost)
                    return [Slot(cell, limits, booking)]
                slots.append(Slot(cell, limits, booking))
        except BaseException:
            await self.give_back([] if look else slots, cost)
            raise
        return slots

    async def give_back(self, slots: Sequence[Slot], cost: int) -> None:
        """Return slots that are not used, as far as nobody has booked behind them.

        Ends also when its caller is cancelled. A store that is away keeps them: they pass unused.
        """
        if not slots:
            return

        async def work() -> None:
            """Return each slot in a step of its own."""
            for cell, limits, booking in slots:
                await self.cells.transact(cell, self.algorithm.give_back(limits, cost, booking))

        try:
            if isinstance(self.cells, DirectCells):
                await work()
            else:
                await current().shield(work, at_most_s=_GIVE_BACK_MAX_S)
        except (SdpatternsError, TimeoutError):
            # Also a state that a newer release has written meanwhile: the caller's own exception counts.
            return

    async def forget(self, key: RateKey) -> None:
        """Drop the cells of a key."""
        for cell, _ in self.places(key):
            await self.cells.delete(cell)


def _limits(rates: Rates, algorithm: Algorithm) -> dict[str, tuple[Limit, ...]]:
    if not isinstance(rates, Mapping):
        return {"": _scope("", rates, algorithm)}
    if not rates or not all(rates):
        raise ValueError(f"rates must have one scope or more, each with a name, got {dict(rates)!r}")
    return {scope: _scope(scope, of_scope, algorithm) for scope, of_scope in rates.items()}


def _scope(scope: str, rates: Rate | Sequence[Rate], algorithm: Algorithm) -> tuple[Limit, ...]:
    several = tuple(rates) if isinstance(rates, Sequence) else (rates,)
    if not several or not all(isinstance(rate, Rate) for rate in several):
        given: Sequence[object] = (rates, *several)
        text = next((rate for rate in given if isinstance(rate, str)), None)
        how = ": make one with per_minute(n)" if text is None else f": read a text with Rate.parse({text!r})"
        raise ValueError(f"rates must be a Rate or several of them, got {rates!r}{how}")
    return tuple(algorithm.limit(rate, scope) for rate in several)


def _overflow_of_scope(key: str) -> str:
    return key.partition("/")[0] + "/\x00overflow"
