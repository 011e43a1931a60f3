"""One seed, one history: the runner.

```
seed --> chance --> [ real code, virtual time, faulty store ] --> history --> checkers --> violations
```
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.clock import SYSTEM
from sdpatterns.ports.states import StateStore
from sdpatterns.testing.faults import FAULTS, FaultPlan, FaultyClient, FaultyQueue, FaultyStates, SteppedClock
from sdpatterns.testing.loop import VirtualLoop
from sdpatterns.testing.simulation.record import Happened, QueueCall, WatchedQueue, WatchedStates

__all__ = ["Outcome", "Run", "World", "simulate"]

_VIRTUAL_S_MAX = 24 * 3600.0


class World(Protocol):
    """A small distributed system around one pattern, and a judge of its history."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        ...

    @property
    def sometimes(self) -> Sequence[str]:
        """What must have happened in some of many runs; without it they prove nothing."""
        ...

    async def play(self, run: Run) -> None:
        """Build the system, let it live for a while, and judge: `run.violated(...)` for each fault of ours."""


class Outcome(NamedTuple):
    """What became of one seed. Two runs of a seed have the same digest."""

    seed: int
    violations: tuple[str, ...]
    counts: Counter[str]
    digest: str


class Run:
    """What a world is given: its random numbers, its store, and a list for violations."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self._digest = hashlib.blake2b(digest_size=8)

    @property
    def digest(self) -> str:
        """A digest of all that was noted so far."""
        return self._digest.hexdigest()

    def note(self, what: str, *details: object) -> None:
        """Count that something happened and let it into the digest."""
        self.counts[what] += 1
        self._digest.update(repr((SYSTEM.now_us(), what, details)).encode())

    def note_cancelled(self, task: asyncio.Task[Any], what: str, *details: object) -> None:
        """Note that a task ended cancelled; it is a violation where that was not requested."""
        self.note(what, *details)
        if not task.cancelling():
            self.violated(f"{what}, though no cancellation was requested: {details}")

    def violated(self, promise: str) -> None:
        """Something happened that must not happen."""
        self.violations.append(promise)

    def store(
        self,
        tell: Callable[[Happened], None],
        plan: FaultPlan,
        *,
        around: Callable[[StateStore], StateStore] = lambda store: store,
    ) -> tuple[MemoryBackend, FaultyStates]:
        """A memory backend, and the first client of it behind a network as bad as the plan.

        `tell` is called with every step that took effect. `around` may put something between the two.
        """
        clock = SteppedClock()
        backend = MemoryBackend(clock=clock)
        watched = WatchedStates(around(backend.states), tell)
        faulty = FaultyStates(watched, chance=self.chance, plan=plan, on_step=clock.step, fired=self.counts)
        return backend, faulty

    def queue(self, tell: Callable[[QueueCall], None], plan: FaultPlan) -> tuple[MemoryBackend, FaultyQueue]:
        """The same for a queue: `tell` is called with every call that took effect."""
        clock = SteppedClock()
        backend = MemoryBackend(clock=clock)
        watched = WatchedQueue(backend.queue("jobs"), clock, tell)
        client = FaultyClient(chance=self.chance, plan=plan, on_step=clock.step, fired=self.counts)
        return backend, FaultyQueue(watched, client)

    def plan(self, *, stepped: bool) -> FaultPlan:
        """A network for this seed: from nearly perfect to hardly there."""
        badness = self.chance.choice([0.0, 0.3, 1.0, 3.0])
        usual = FaultPlan(stepped=0.02 if stepped else 0.0)
        return FaultPlan(
            **{name: min(0.9, badness * getattr(usual, name)) for name in FAULTS},
            delay_max_s=self.chance.choice([0.01, 0.1, 0.5, 2.0]),
            away_max_s=self.chance.choice([0.5, 5.0, 30.0]),
        )

    async def all_of(self, work: Iterable[Any]) -> None:
        """Run the coroutines at once to their end; what they raise is a violation, a stray cancellation as well."""
        ended = await asyncio.gather(*work, return_exceptions=True)
        for end in ended:
            if isinstance(end, BaseException):
                self.violated(f"unexpected {end!r}")


def simulate(world: World, seed: int) -> Outcome:
    """Let the world live once under this seed.

    Keeps: nothing waits for real; the same seed gives the same history, in any process.
    """
    run = Run(seed)

    async def bounded() -> None:
        """Play within a bound of virtual time, so that a world that hangs ends."""
        async with asyncio.timeout(_VIRTUAL_S_MAX):
            await world.play(run)

    try:
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed=seed)) as runner:
            runner.run(bounded())
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it is, it is the finding
        run.violated(f"the world broke: {error!r}")
    return Outcome(seed, tuple(run.violations), run.counts, run.digest)
