"""60,000 random requests to the default limiter, each answer compared with arithmetic written out by hand."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import pytest

from sdpatterns import Rate, RateLimiter
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.clock import Clock
from sdpatterns.core.runtime import finish

REQUESTS = 60_000
EACH = 300
PARTS = 4
NOW = 1_700_000_000_000_000


class Answer(NamedTuple):
    allowed: bool
    remaining: int
    retry_after_us: int
    limit: int
    reset_after_us: int
    scope: str


class Instants:
    """GCRA by the book: each rate of a key has the instant at which nothing of it is used any more."""

    def __init__(self, rates: dict[str, list[Rate]]) -> None:
        self.rates = [(scope, rate) for scope, several in rates.items() for rate in several]
        self.free_us = [0] * len(self.rates)

    def ask(self, now_us: int, cost: int, *, look: bool) -> Answer:
        after = [
            max(free_us, now_us) + cost * rate.interval_us
            for free_us, (_, rate) in zip(self.free_us, self.rates, strict=True)
        ]
        waits = [
            free_us - now_us - rate.limit * rate.interval_us
            for free_us, (_, rate) in zip(after, self.rates, strict=True)
        ]
        allowed = max(waits) <= 0
        if allowed and not look:
            self.free_us = after
        answers = []
        for (scope, rate), free_us, wait_us in zip(self.rates, self.free_us, waits, strict=True):
            ahead_us = max(0, free_us - now_us)
            left = max(0, (rate.limit * rate.interval_us - ahead_us) // rate.interval_us)
            retry_us = 0 if allowed else max(0, wait_us)
            answers.append(Answer(allowed, left, retry_us, rate.limit, ahead_us, scope))
        # The rate with the longest wait binds, or else the one with the least left, or else the first.
        return max(answers, key=lambda answer: (answer.retry_after_us, -answer.remaining))


def some_rates(chance: random.Random) -> dict[str, list[Rate]]:
    def some() -> list[Rate]:
        return [
            Rate(chance.randint(1, 50), chance.choice([0.001, 0.7, 1.0, 60.0, 86_400.0]), burst=chance.randint(1, 12))
            for _ in range(chance.choice([1, 1, 2, 3]))
        ]

    return {"user": some(), "ip": some()} if chance.random() < 0.3 else {"": some()}


def told(decision: Any) -> Answer:
    return Answer(
        decision.allowed, decision.remaining, round(decision.retry_after_s * 1e6),
        decision.limit, round(decision.reset_after_s * 1e6), decision.scope,
    )  # fmt: skip


def play(seed: int) -> list[bool]:
    chance, time_us = random.Random(seed), [NOW]
    clock = Clock(lambda: time_us[0] / 1e6, lambda: time_us[0])
    rates = some_rates(chance)
    oracle, is_plain = Instants(rates), "" in rates
    several: Any = rates[""] if is_plain else rates
    limiter = RateLimiter("api", several, store=MemoryBackend(clock=clock).states)
    key: Any = "u" if is_plain else {"user": "u", "ip": "i"}
    burst = min(rate.limit for of_scope in rates.values() for rate in of_scope)
    passed = []
    for _ in range(EACH):
        time_us[0] += int(chance.choice([0, 1, 1e3, 1e5, 1e6, 3e7]) * chance.random())
        cost, look = chance.randint(1, burst), chance.random() < 0.2
        answer = told(finish((limiter.peek if look else limiter.acquire)(key, cost)))
        assert answer == oracle.ask(time_us[0], cost, look=look), (seed, time_us[0] - NOW, cost, look)
        passed.append(answer.allowed)
    return passed


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in range(1, PARTS))])
def test_every_answer_is_what_arithmetic_by_hand_gives(part: int) -> None:
    passed = [allowed for seed in range(part, REQUESTS // EACH, PARTS) for allowed in play(seed)]
    assert len(passed) == REQUESTS // PARTS
    assert min(passed.count(True), passed.count(False)) > 1_000
