"""The cells of a limiter: which of them a key means, and one request's reservations on all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from sdpatterns.core.keys import check_key, join_key
from sdpatterns.core.runtime import Runtime, current
from sdpatterns.errors import SdpatternsError
from sdpatterns.ports.local import LocalCells
from sdpatterns.ports.spare import SpareCells
from sdpatterns.ports.states import Cells, DirectCells, Overflow, Space, StateStore, check_store, where_of
from sdpatterns.traffic.ratelimit.algorithm import Algorithm
from sdpatterns.traffic.ratelimit.algorithms import GCRA
from sdpatterns.traffic.ratelimit.answer import CellState, Limit, RateKey, check_cost
from sdpatterns.traffic.ratelimit.config import Rate, Rates
from sdpatterns.traffic.ratelimit.decision import CODEC, Cancel, Reservation, Reserve

__all__ = ["LimiterCells"]

_CANCEL_MAX_S = 5.0
_BOOKING_MAX_S = 1.0


class LimiterCells:
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
        self.suffix = () if isinstance(algorithm, GCRA) else (algorithm.name,)
        self._scopes = _limits(rates, algorithm)
        self._plain = self._scopes.get("")
        self._common_step = None if self._plain is None else Reserve((self._plain,), 1)
        self._atomic = atomic
        if store is not None:
            check_store(store)
        self.runtime: Runtime | None = None if store is None else store.runtime
        self.where = where_of(store)
        self.limits = tuple(limit for limits in self._scopes.values() for limit in limits)
        self.burst = min(limit.rate.limit for limit in self.limits)
        overflow: Overflow = "share" if self._plain else _overflow_of_scope
        place = join_key("limiter", name, *self.suffix)
        space = Space(place, CODEC, group=group, keys_max=keys_max, overflow=overflow)
        self.cells: Cells[CellState]
        if store is None:
            self.cells = LocalCells(space)
        else:
            self.cells = store.cells(space)
            if counts_here and not isinstance(self.cells, LocalCells):
                self.cells = SpareCells(self.cells, f"RateLimiter {name!r}", name)
        self._suspends = not isinstance(self.cells, DirectCells)

    def cells_of(self, key: RateKey) -> Sequence[tuple[str, Sequence[Limit]]]:
        """The cells of a key, and the limits of each."""
        if self._plain is not None:
            return ((check_key(key), self._plain),)
        if not isinstance(key, Mapping):
            raise TypeError(f"this limiter has scopes: its key is a mapping of {sorted(self._scopes)}, got {key!r}")
        if key.keys() != self._scopes.keys():
            raise ValueError(f"the key must name the scopes {sorted(self._scopes)}, got {sorted(key)}")
        return [(check_key(join_key(scope, check_key(key[scope]))), of) for scope, of in self._scopes.items()]

    async def reserve(
        self, key: RateKey, cost: int, wait_max_us: float = 0.0, *, look: bool = False
    ) -> Sequence[Reservation]:
        """The reservation on each cell of a key, or, if one refused, at least that one's answer."""
        if self._common_step is not None and cost == 1 and not wait_max_us and not look:
            # The cells check the key themselves, and refuse a mapping.
            return await self.cells.transact(cast("str", key), self._common_step)
        check_cost(cost, self.burst)
        cells = self.cells_of(key)
        if len(cells) > 1 and self._atomic:
            step = Reserve([limits for _, limits in cells], cost, wait_max_us, look=look)
            return await self.cells.transact_many([cell for cell, _ in cells], step)
        return await self._reserve_in_order(cells, cost, wait_max_us, look=look)

    async def book(self, key: RateKey, cost: int, wait_max_us: float = 0.0) -> Sequence[Reservation]:
        """The same, for a caller that waits: one that is cancelled before it has the answer books nothing.

        So it waits for that answer, a second at most, and returns the slot as `cancel` does.
        """
        if not self._suspends:
            return await self.reserve(key, cost, wait_max_us)
        made: Sequence[Reservation] = ()

        async def work() -> None:
            """Reserve, and keep the answer also where the caller is cancelled."""
            nonlocal made
            made = await self.reserve(key, cost, wait_max_us)

        try:
            await current().shield(work, at_most_s=_BOOKING_MAX_S, once_cancelled=True)
        except BaseException:
            if made and made[0].allowed:
                await self.cancel(key, made)
            raise
        return made

    async def _reserve_in_order(
        self, cells: Sequence[tuple[str, Sequence[Limit]]], cost: int, wait_max_us: float, *, look: bool
    ) -> Sequence[Reservation]:
        made: list[tuple[str, Reservation]] = []
        try:
            for cell, limits in cells:
                [one] = await self.cells.transact(cell, Reserve((limits,), cost, wait_max_us, look=look))
                if not one.allowed:
                    await self._cancel([] if look else made)
                    return [one]
                made.append((cell, one))
        except BaseException:
            await self._cancel([] if look else made)
            raise
        return [one for _, one in made]

    async def cancel(self, key: RateKey, reservations: Sequence[Reservation]) -> None:
        """Return reservations that are not used, unless another request came after them.

        Finishes also if its caller is cancelled. If the store is away, they pass unused.
        """
        await self._cancel([(cell, one) for (cell, _), one in zip(self.cells_of(key), reservations, strict=True)])

    async def _cancel(self, made: Sequence[tuple[str, Reservation]]) -> None:
        if not made:
            return

        async def work() -> None:
            """Return each reservation in a step of its own."""
            for cell, one in made:
                await self.cells.transact(cell, Cancel(one))

        try:
            if self._suspends:
                await current().shield(work, at_most_s=_CANCEL_MAX_S)
            else:
                await work()
        except (SdpatternsError, TimeoutError):
            # Also a state that a newer release has written meanwhile, because the caller's own exception counts.
            return

    async def forget(self, key: RateKey) -> None:
        """Drop the cells of a key."""
        for cell, _ in self.cells_of(key):
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
    return tuple(Limit(rate, algorithm, scope) for rate in several)


def _overflow_of_scope(key: str) -> str:
    return key.partition("/")[0] + "/\x00overflow"
