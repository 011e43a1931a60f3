"""One seed, one history: the runner.

```
seed --> luck --> [ real code, virtual time, faulty store ] --> history --> checkers --> violations
```
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, cast

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.clock import SYSTEM
from sdpatterns.ports.local import one_shard
from sdpatterns.ports.states import StateStore
from sdpatterns.testing.clock import VirtualClock
from sdpatterns.testing.faults import FAULTS, FaultPlan, FaultyClient, FaultyQueue, FaultyStates, SteppedClock
from sdpatterns.testing.loop import Deadlock
from sdpatterns.testing.simulation.cluster import Cluster, Trouble
from sdpatterns.testing.simulation.loop import NodeLoop, NotEnded
from sdpatterns.testing.simulation.luck import Luck, Struck
from sdpatterns.testing.simulation.record import Happened, QueueCall, WatchedQueue, WatchedStates

__all__ = ["Outcome", "Run", "World", "simulate"]

_VIRTUAL_S_MAX = 24 * 3600.0
_CLOSING_S_MAX = 3600.0


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
    """What became of one seed. Two runs of a seed have the same digest. `faults` are those of the nodes, in order."""

    seed: int
    violations: tuple[str, ...]
    counts: Counter[str]
    digest: str
    faults: tuple[Struck, ...] = ()


class Run:
    """What a world is given: its random numbers, its store, and a list for violations."""

    def __init__(self, seed: int, only: Collection[str] | None = None) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self.luck = Luck(seed, self._passed_s, self.counts, only)
        self._digest = hashlib.blake2b(digest_size=8)
        self._ends: list[Callable[[], None]] = []
        self._is_over = False

    @property
    def digest(self) -> str:
        """A digest of all that was noted so far."""
        return self._digest.hexdigest()

    def note(self, what: str, *details: object) -> None:
        """Count that something happened and let it into the digest."""
        if not self._is_over:
            self.counts[what] += 1
            self._digest.update(repr((self.now_us(), what, details)).encode())

    def note_cancelled(self, task: asyncio.Task[Any], what: str, *details: object) -> None:
        """Note that a task ended cancelled; it is a violation where that was not requested."""
        self.note(what, *details)
        if not task.cancelling():
            self.violated(f"{what}, though no cancellation was requested: {details}")

    def violated(self, promise: str) -> None:
        """Something happened that must not happen."""
        if not self._is_over:
            self.violations.append(promise)

    def now_us(self) -> int:
        """The true time, whatever the clock of a node or of the store says."""
        clock = VirtualClock.installed()
        return SYSTEM.now_us() if clock is None else clock.now_us()

    def _passed_s(self) -> float:
        clock = VirtualClock.installed()
        return 0.0 if clock is None else clock.passed_us / 1e6

    def at_the_end(self, end: Callable[[], None]) -> None:
        """Call this when the run is judged, in its loop."""
        self._ends.append(end)

    def end(self, trace: int) -> None:
        """Nothing counts from now on."""
        self._digest.update(repr(trace).encode())
        self._is_over = True
        for end in self._ends:
            end()

    def cluster(
        self,
        *,
        nodes: int,
        trouble: Trouble | None = None,
        tell: Callable[[Happened], None] = lambda happened: None,
        told: Callable[[QueueCall], None] = lambda call: None,
    ) -> Cluster:
        """So many nodes over one store: see `Cluster`. The trouble is drawn from the seed where you give none."""
        return Cluster(self, nodes=nodes, trouble=trouble or self.trouble(), tell=tell, told=told)

    def trouble(self, *, pause_max_s: float = 10.0, stepped: bool = True) -> Trouble:
        """How bad it gets under this seed: some kinds of faults often, some never.

        `pause_max_s` says what is long: a few times what your system waits before it takes another for dead.
        """
        chance, usual = self.chance, Trouble()
        network = self.plan(stepped=stepped and chance.random() < 0.4)
        kinds = ("unheard", "crashed", "paused", "moved")
        return Trouble(
            network=network,
            **{kind: getattr(usual, kind) * chance.choice([0.0, 1.0, 3.0]) for kind in kinds},
            pause_max_s=pause_max_s * chance.choice([0.3, 1.0]),
            down_max_s=pause_max_s * chance.choice([0.1, 1.0]),
            look_s=pause_max_s / 10,
        )

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


def simulate(world: World, seed: int, only: Collection[str] | None = None) -> Outcome:
    """Let the world live once under this seed; with `only`, no fault strikes its nodes but those named.

    Keeps: nothing waits for real; the same seed gives the same history, in any process.
    """
    run = Run(seed, only)

    async def bounded() -> None:
        """Play within a bound of virtual time, so that a world that hangs ends."""
        loop = cast("NodeLoop", asyncio.get_running_loop())
        try:
            async with asyncio.timeout(_VIRTUAL_S_MAX):
                await world.play(run)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it is, it is the finding
            run.violated(f"the world broke: {error!r}")
        # What ends from here on is no part of the history.
        loop.set_exception_handler(lambda _loop, _context: None)
        run.end(loop.trace)
        loop.last_s = loop.time() + _CLOSING_S_MAX

    # A task of a node that is gone does not end when it is cancelled, which is no finding. One that goes on is.
    quietly = contextlib.suppress(Deadlock)
    with _one_history(seed):
        try:
            with quietly, asyncio.Runner(loop_factory=lambda: NodeLoop(seed=seed)) as runner:
                try:
                    runner.run(bounded())
                except Deadlock as error:
                    run.violated(f"the world broke: {error!r}")
        except NotEnded as error:
            run.violations.append(f"the world broke: {error!r}")
    return Outcome(seed, tuple(run.violations), run.counts, run.digest, tuple(run.luck.struck))


@contextlib.contextmanager
def _one_history(seed: int) -> Iterator[None]:
    """Random numbers that the code itself draws come from the seed, its hash seed has no effect, and nothing is logged.

    Nothing is collected on the way either: a history is short, and looking for garbage again and again takes a quarter
    of its time.
    """
    state, disabled, collects = random.getstate(), logging.root.manager.disable, gc.isenabled()
    random.seed(seed)
    logging.disable(logging.CRITICAL)
    gc.disable()
    try:
        with one_shard():
            yield
    finally:
        random.setstate(state)
        logging.disable(disabled)
        if collects:
            gc.enable()
