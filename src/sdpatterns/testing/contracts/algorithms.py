"""What every algorithm of the limiter must keep, on random histories that are the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from sdpatterns.core.runtime import finish
from sdpatterns.testing.contracts.stage import BackendUnderTest
from sdpatterns.traffic.ratelimit import Algorithm, Rate, RateLimiter
from sdpatterns.traffic.ratelimit.algorithm import Numbers
from sdpatterns.traffic.ratelimit.answer import Limit
from sdpatterns.traffic.ratelimit.decision import CODEC, Cancel, Reserve, packed

__all__ = ["AlgorithmContract", "ScriptedAlgorithmContract"]

_HISTORIES = 100
_REQUESTS = 30
_NOW_US = 1_700_000_000_000_000


class AlgorithmContract:
    """Inherit from it, and say which algorithm: `def build(self): return MyAlgorithm()`."""

    rates: ClassVar[Sequence[Rate]] = (Rate(1, 1.0), Rate(5, 0.001), Rate(3, 7.0), Rate(100, 60.0))
    """Rates that the algorithm can keep."""

    def build(self) -> Algorithm:
        """The algorithm."""
        raise NotImplementedError

    def test_it_is_an_algorithm(self) -> None:
        """A limiter takes it, lets its limit pass and refuses the next request."""
        for rate in self.rates:
            limiter = RateLimiter("contract", rate, algorithm=self.build())
            most = self.build().limit(rate)
            passed = [finish(limiter.acquire("key")).allowed for _ in range(most)]
            assert passed == [True] * most

    def test_its_numbers_are_a_tuple_that_can_be_stored(self) -> None:
        """Whole numbers below 2**53, one or more after a request, which come back from a store as they were."""
        for algorithm, limit, state, now_us in self._histories():
            after, start_us = algorithm.advance(state, now_us, 1, limit.params)
            numbers = (*after, *limit.params, start_us)
            assert after
            assert all(isinstance(part, tuple) for part in (algorithm.initial, after, limit.params))
            assert all(type(number) is int and abs(number) < 2**53 for number in numbers), numbers
            assert CODEC.decode(CODEC.encode((after, after))) == (after, after)

    def test_the_same_request_gives_the_same_answer(self) -> None:
        """A store may run a step again, because it keeps nothing outside its numbers."""
        for algorithm, limit, state, now_us in self._histories():
            one, other = (algorithm.advance(state, now_us, 1, limit.params) for _ in range(2))
            assert one == other == self.build().advance(state, now_us, 1, limit.params)

    def test_no_request_starts_before_now_or_before_an_earlier_one(self) -> None:
        """First come, first served."""
        for algorithm, limit, state, now_us in self._histories():
            after, start_us = algorithm.advance(state, now_us, 1, limit.params)
            assert now_us <= start_us <= algorithm.advance(after, now_us, 1, limit.params)[1]

    def test_as_many_as_remain_may_start_now_and_no_more(self) -> None:
        """And one that must wait may start exactly when it is told."""
        for algorithm, limit, state, now_us in self._histories():
            most, left = algorithm.limit(limit.rate), algorithm.remaining(state, now_us, limit.params)
            assert 0 <= left <= most, f"{left} remain of {most}"
            if left:
                assert algorithm.advance(state, now_us, left, limit.params)[1] == now_us
            if left < most:
                assert algorithm.advance(state, now_us, left + 1, limit.params)[1] > now_us
            start_us = algorithm.advance(state, now_us, 1, limit.params)[1]
            assert algorithm.remaining(state, start_us, limit.params) >= 1
            assert start_us == now_us or algorithm.remaining(state, start_us - 1, limit.params) == 0

    def test_once_idle_it_decides_as_if_it_was_never_used(self) -> None:
        """So a store may drop the cell."""
        for algorithm, limit, state, now_us in self._histories():
            idle_us = max(now_us, algorithm.idle_at_us(state, limit.params))
            for later_us in (0, 1, limit.rate.window_us):
                one, other = (
                    algorithm.advance(numbers, idle_us + later_us, 1, limit.params)
                    for numbers in (state, algorithm.initial)
                )
                assert one == other

    def test_a_cancelled_reservation_leaves_no_trace(self) -> None:
        """The cell is as the request found it."""
        for _, limit, state, now_us in self._histories():
            stored: Any = None if state == limit.algorithm.initial else packed((state,))
            after, (made,), _, _ = Reserve([[limit]], 1, 1e12)([stored], now_us)
            if made.allowed:
                [back] = Cancel(made)(after, now_us)[0]  # type: ignore[arg-type]
                idle_us = 0 if stored is None else limit.algorithm.idle_at_us(state, limit.params)
                assert (idle_us <= now_us) == (back is not stored)

    def _histories(self) -> Iterator[tuple[Algorithm, Limit, Numbers, int]]:
        """Numbers that random requests have left, and a time from then on."""
        for seed in range(_HISTORIES):
            chance, algorithm = random.Random(seed), self.build()
            limit = Limit(chance.choice(self.rates), algorithm)
            state, now_us = algorithm.initial, _NOW_US + chance.randrange(10**9)
            for _ in range(_REQUESTS):
                yield algorithm, limit, state, now_us
                now_us += _pause_us(chance, limit.rate)
                after, start_us = algorithm.advance(state, now_us, 1, limit.params)
                if start_us - now_us <= min(limit.ahead_max_us, chance.choice([0, 0, 10**12])):
                    state = after


class ScriptedAlgorithmContract:
    """For an algorithm with `lua`: the script on a real server leaves what Python would have left.

    `build` gives the algorithm, and `backend` a `RedisBackend.from_url(url, blocking=True)`.
    """

    rates: ClassVar[Sequence[Rate]] = AlgorithmContract.rates

    def build(self) -> Algorithm:
        """The algorithm."""
        raise NotImplementedError

    def backend(self) -> BackendUnderTest:
        """A blocking backend on Redis or Valkey that has opened nothing."""
        raise NotImplementedError

    def test_the_script_leaves_what_python_would_have_left(self) -> None:
        """After each request the stored numbers are those of `advance`, or those that were found."""
        backend, chance = self.backend(), random.Random(1)
        assert self.build().lua is not None
        finish(backend.__aenter__())
        try:
            for history in range(_HISTORIES // 10):
                self._play(backend, chance, f"{chance.random()}/{history}")
        finally:
            finish(backend.__aexit__(None, None, None))

    def _play(self, backend: Any, chance: random.Random, key: str) -> None:
        rates = [chance.choice(self.rates) for _ in range(chance.choice([1, 1, 2]))]
        limiter = RateLimiter("algorithm-contract", rates, algorithm=self.build(), store=backend.states)
        cells, limits = limiter._cells.cells, limiter._cells.limits  # noqa: SLF001 - the steps are not public
        for _ in range(_REQUESTS):
            backend.shift(_pause_us(chance, rates[0]) / 1e6)
            [made] = finish(cells.transact(key, Reserve([limits], 1, chance.choice([0, 0, 10**12]))))
            left = finish(cells.read(key))
            assert left == (packed(made.stands) if made.allowed else made.found)


def _pause_us(chance: random.Random, rate: Rate) -> int:
    # To the microsecond, too, because that is where the edges are.
    edges = [0, 1, rate.interval_us - 1, rate.interval_us, rate.window_us - 1, rate.window_us, 3 * rate.window_us]
    return chance.choice([*edges, chance.randrange(2 * rate.window_us)])
