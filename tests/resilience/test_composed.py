"""Retry, breaker and timeout in one pipeline: ten callers, some of whom give up, and a callee that
fails, hangs and heals. One world per seed, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from sdpatterns import CircuitBreaker, DeadlineExceeded, Pipeline, Retry, Timeout, Window
from sdpatterns.core.notices import Notice, listen
from sdpatterns.errors import CircuitIsOpen
from sdpatterns.resilience.breaker import CircuitState
from sdpatterns.testing.loop import VirtualLoop

CALLERS, LASTS_S = 10, 300.0
SEEDS, SEEDS_LONG = 12, 600


class World:
    """What is true of every history is asserted where it happens."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.probes = self.chance.randint(1, 3)
        self.breaker = CircuitBreaker(
            "callee",
            consecutive=self.chance.choice([None, 3]),
            failure_rate=0.5,
            window=self.chance.choice([Window.calls(10), Window.seconds(20)]),
            calls_min=5,
            open_s=10.0,
            open_growth=self.chance.choice([1.0, 2.0]),
            open_max_s=30.0,
            open_jitter=0.3,
            probes=self.probes,
            probe_successes=self.chance.randint(1, 3),
            half_open_max_s=15.0,
            random=self.chance.random,
        )
        self.term = 0
        self.out: Counter[int] = Counter()
        self.happened: Counter[str] = Counter()
        self.mood = "well"

    def hear(self, notice: Notice) -> None:
        self.term += 1
        self.happened[notice.event] += 1

    async def callee(self) -> str:
        state, term = self.breaker.state, self.term
        assert state is not CircuitState.OPEN, "a call reached the callee while the circuit was open"
        self.out[term] += 1
        if state is CircuitState.HALF_OPEN:
            assert self.out[term] <= self.probes, "more probes than were allowed"
        try:
            mood = self.mood
            await asyncio.sleep(3600 if mood == "hanging" else self.chance.expovariate(2.0))
            return "fine" if mood == "well" else self.fail()
        except asyncio.CancelledError:
            self.happened[f"cancelled_{state.value}"] += 1
            raise
        finally:
            self.out[term] -= 1

    def fail(self) -> str:
        raise ConnectionError

    async def caller(self) -> None:
        protected = Pipeline(
            Retry(on=(ConnectionError, DeadlineExceeded), attempts_max=2, idempotent=True, random=self.chance.random),
            self.breaker,
            Timeout(self.chance.choice([3.0, 5.0])),
            name="call",
        ).protect(self.callee)
        while True:
            await asyncio.sleep(self.chance.expovariate(0.5))
            call = asyncio.ensure_future(protected())
            if self.chance.random() < 0.2:
                asyncio.get_running_loop().call_later(self.chance.random() * 3.0, call.cancel)
            try:
                await asyncio.shield(call)
            except (ConnectionError, DeadlineExceeded, CircuitIsOpen) as error:
                self.happened[type(error).__name__] += 1
            except asyncio.CancelledError:
                if not call.done():
                    call.cancel()
                    raise

    async def moods(self) -> None:
        while True:
            await asyncio.sleep(self.chance.expovariate(0.05))
            self.mood = self.chance.choice(["well", "well", "failing", "hanging"])

    async def live(self) -> None:
        tasks = [asyncio.ensure_future(self.caller()) for _ in range(CALLERS)] + [asyncio.ensure_future(self.moods())]
        await asyncio.wait(tasks, timeout=LASTS_S)
        for task in tasks:
            assert not task.done(), task
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0)
        await self.heal()

    async def heal(self) -> None:
        """Whatever happened before: once the callee is well, the circuit closes and stays closed."""
        self.mood = "well"
        for _ in range(4):
            await asyncio.sleep(40.0)
            try:
                assert await self.breaker.call(self.callee) == "fine"
            except CircuitIsOpen as refused:
                raise AssertionError("a place for a probe was lost") from refused
        assert self.breaker.state is CircuitState.CLOSED
        assert not +self.out


# Other tests go through the same lines; counting them in so many worlds takes most of the time.
@pytest.mark.unmeasured
@pytest.mark.parametrize(
    "seeds", [SEEDS, pytest.param(SEEDS_LONG, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
)
def test_every_history_keeps_the_promises(seeds: int) -> None:
    happened: Counter[str] = Counter()
    for seed in range(seeds):
        world = World(seed)
        with asyncio.Runner(loop_factory=lambda seed=seed: VirtualLoop(seed=seed)) as runner, listen(world.hear):
            try:
                runner.run(world.live())
            except BaseException as error:
                error.add_note(f"in the world of seed {seed}")
                raise
        happened += world.happened
    missing = {
        "circuit_opened", "circuit_half_opened", "circuit_closed", "CircuitIsOpen", "DeadlineExceeded",
        "cancelled_closed", "cancelled_half_open",
    } - set(happened)  # fmt: skip
    assert not missing, f"these never happened: {missing}"
