"""A backend with everything that a network and a crash can do to it, decided by one seed.

```
caller -- delay -- request lost? -- [the step] -- reply lost? -- delay -- caller
                                        |
                                        +-- a late copy of the same request, once more
```
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self, TypeVar

from sdpatterns.core.clock import SYSTEM, Clock
from sdpatterns.core.runtime import ASYNCIO, Runtime, current
from sdpatterns.core.step import Repeats
from sdpatterns.errors import BackendUnavailable, OutcomeUnknown
from sdpatterns.ports.engine.steps import Drop, PendingStep
from sdpatterns.ports.queue import Claimed, Claims, Message, MessageQueue, Parked, QueueDepth, Settlement
from sdpatterns.ports.states import Cells, Space, StateStore

__all__ = [
    "FAULTS",
    "FaultPlan",
    "FaultyCells",
    "FaultyClient",
    "FaultyQueue",
    "FaultyStates",
    "Network",
    "Outages",
    "SteppedClock",
]

S = TypeVar("S")
A = TypeVar("A")

_TRIES_MAX = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaultPlan:
    """How often each fault strikes: chances from 0 to 1 per step.

    | fault | what the store does | what the caller gets |
    |---|---|---|
    | `delayed` | answers after up to `delay_max_s`, on the way there or back | the answer, late |
    | `unsent` | never hears of it | `BackendUnavailable` |
    | `lost_before` | never hears of it, which the caller can't know | see below |
    | `lost_after` | has done it; the reply is lost | see below |
    | `copied` | does a harmless step once more, late | the first answer |
    | `away` | is gone for up to `away_max_s` | `BackendUnavailable` |
    | `parted` | is there, but not for this client | `BackendUnavailable` |
    | `stepped` | its clock jumps by up to `step_max_s`, either way | the answer |

    A lost step is sent again when its transition says that a repeat is harmless; otherwise the
    caller gets `OutcomeUnknown`, and so it does when the repeats are lost as well.
    """

    delayed: float = 0.3
    unsent: float = 0.02
    lost_before: float = 0.03
    lost_after: float = 0.03
    copied: float = 0.03
    away: float = 0.005
    parted: float = 0.005
    stepped: float = 0.0
    delay_max_s: float = 0.5
    away_max_s: float = 5.0
    step_max_s: float = 20.0

    def __post_init__(self) -> None:
        """Check the chances. Raises `ValueError` naming the one that is out of range."""
        for name in FAULTS:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a chance from 0 to 1, got {getattr(self, name)!r}")

    def possible(self) -> list[str]:
        """The faults that can strike at all under this plan."""
        return [name for name in FAULTS if getattr(self, name) > 0]


FAULTS = ("delayed", "unsent", "lost_before", "lost_after", "copied", "away", "parted", "stepped")


class SteppedClock(Clock):
    """A store's clock that is set now and then; stores never let a cell see it go back."""

    __slots__ = ("_last_us", "_shift_us", "_true_us")

    def __init__(self, true_us: Callable[[], int] | None = None) -> None:
        super().__init__(self._seconds, self._read)
        self._true_us = true_us or _system_us
        self._last_us = 0
        self._shift_us = 0

    def _seconds(self) -> float:
        return SYSTEM.monotonic()

    def _read(self) -> int:
        self._last_us = max(self._last_us, self._true_us() + self._shift_us)
        return self._last_us

    def step(self, seconds: float) -> None:
        """Set the clock forward or back."""
        self._shift_us += int(seconds * 1_000_000)

    def run_on(self) -> None:
        """Let it go on from what it showed last: one that was set back would stand still for as long."""
        self._shift_us = max(self._shift_us, self._last_us - self._true_us())


def _system_us() -> int:
    return SYSTEM.now_us()


class Outages:
    """What all clients of one store meet: until when it is away, and the copies under way to it."""

    def __init__(self) -> None:
        self.away_until = float("-inf")
        self.copies: list[tuple[float, Callable[[], Awaitable[object]]]] = []


class Network:
    """What the clients of one faulty store share: its luck, its outages, the copies under way."""

    def __init__(
        self,
        chance: random.Random,
        plan: FaultPlan,
        on_step: Callable[[float], None] | None,
        fired: Counter[str],
        outages: Outages | None = None,
    ) -> None:
        self.chance = chance
        self.plan = plan
        self.fired = fired
        self.on_step = on_step
        self.outages = outages or Outages()

    def strikes(self, fault: str) -> bool:
        """Whether this fault strikes now."""
        if self.chance.random() >= getattr(self.plan, fault):
            return False
        self.fired[fault] += 1
        return True

    def drawn_s(self, at_most_s: float) -> float:
        """A while."""
        return self.chance.random() * at_most_s

    def copy(self, step: Callable[[], Awaitable[object]]) -> None:
        """Send one more copy of the request, by the slow way."""
        self.outages.copies.append((SYSTEM.monotonic() + self.drawn_s(4 * self.plan.delay_max_s), step))

    async def deliver(self) -> None:
        """Run the copies that have arrived by now. Their answers are dropped."""
        now, copies = SYSTEM.monotonic(), self.outages.copies
        arrived = [copy for copy in copies if copy[0] <= now]
        self.outages.copies = [copy for copy in copies if copy[0] > now]
        for _, step in sorted(arrived, key=lambda copy: copy[0]):
            # A refusal is an answer too.
            with contextlib.suppress(Exception):
                await step()


class FaultyClient:
    """One client of a backend, behind a bad network; `another()` gives a second one.

    `chance` draws every fault, so that one seed gives one history; `on_step` steps the backend's
    clock (`SteppedClock.step`, or a backend's `shift`). `fired` counts what has struck.

    **Keeps**: a call is never half done; `BackendUnavailable` only for a call that never happened;
    an unsafe call never happens twice. **May fail** as what it wraps, and by plan.
    **Costs** the delays of the plan, in whatever time the runtime keeps.
    """

    def __init__(
        self,
        *,
        chance: random.Random,
        plan: FaultPlan | None = None,
        on_step: Callable[[float], None] | None = None,
        fired: Counter[str] | None = None,
        runtime: Runtime = ASYNCIO,
    ) -> None:
        self.runtime: Runtime | None = runtime
        self.plan = FaultPlan() if plan is None else plan
        if self.plan.stepped and on_step is None:
            raise ValueError("stepped needs on_step: who is to set the store's clock?")
        self.fired: Counter[str] = Counter() if fired is None else fired
        self.network = Network(chance, self.plan, on_step, self.fired)
        self._parted_until = float("-inf")

    def another(self) -> Self:
        """One more client of the same backend: it has its own luck with partitions only."""
        client = copy.copy(self)
        client._parted_until = float("-inf")  # noqa: SLF001 - its own class
        return client

    def cut(self) -> None:
        """From now on nothing of this client reaches the backend: its process has died."""
        self._parted_until = float("inf")

    def calm(self) -> None:
        """From now on nothing strikes any client of this network; what is under way still arrives."""
        self.network.plan = FaultPlan(**dict.fromkeys(FAULTS, 0.0))

    async def travel(self) -> None:
        """One way through the network."""
        if self.network.strikes("delayed"):
            await current().sleep(self.network.drawn_s(self.plan.delay_max_s))

    def reach(self) -> None:
        """Raise when the store is away, or this client parted from it."""
        now, network, outages = SYSTEM.monotonic(), self.network, self.network.outages
        if now >= outages.away_until and network.strikes("away"):
            outages.away_until = now + network.drawn_s(self.plan.away_max_s)
        if now >= self._parted_until and network.strikes("parted"):
            self._parted_until = now + network.drawn_s(self.plan.away_max_s)
        if now < max(outages.away_until, self._parted_until):
            raise BackendUnavailable("the store is away, by plan")
        if network.on_step is not None and network.strikes("stepped"):
            network.on_step(2 * network.drawn_s(self.plan.step_max_s) - self.plan.step_max_s)

    async def send(self, repeats: Repeats, call: Callable[[], Awaitable[A]], *, copies: bool) -> A:
        """Make a call, with luck. `copies`: whether the network may deliver it once more."""
        network = self.network
        for _ in range(_TRIES_MAX):
            await self.travel()
            self.reach()
            if network.strikes("unsent"):
                raise BackendUnavailable("the step was not sent, by plan")
            if network.outages.copies:
                await network.deliver()
            if not network.strikes("lost_before"):
                answer = await call()
                if copies and repeats == "harmless" and network.strikes("copied"):
                    network.copy(call)
                if not network.strikes("lost_after"):
                    await self.travel()
                    return answer
            await self.travel()
            if repeats != "harmless":
                break
        raise OutcomeUnknown("the reply was lost, by plan")


class FaultyStates(FaultyClient):
    """A `StateStore` as one client reaches it through the faults: see `FaultyClient`.

    `runtime` is the one to wait in where the store inside has none of its own.
    """

    def __init__(
        self,
        inner: StateStore,
        *,
        chance: random.Random,
        plan: FaultPlan | None = None,
        on_step: Callable[[float], None] | None = None,
        fired: Counter[str] | None = None,
        runtime: Runtime = ASYNCIO,
    ) -> None:
        # A store that never waits does wait behind a network.
        waits_in = runtime if inner.runtime is None else inner.runtime
        super().__init__(chance=chance, plan=plan, on_step=on_step, fired=fired, runtime=waits_in)
        self.clock = inner.clock
        self._inner = inner

    def cells(self, space: Space[S], /) -> Cells[S]:
        """The cells of the store inside, reached through the faults."""
        return Cells(space, FaultyCells(self, self._inner.cells(space)).run)


class FaultyCells:
    """The way to the cells inside."""

    def __init__(self, client: FaultyClient, inner: Cells[Any]) -> None:
        self._client = client
        self._inner = inner

    async def run(self, step: PendingStep) -> Any:
        """Make one step, with luck."""
        copies = not step.reads and not isinstance(step.transition, Drop)
        # A fresh one for each time that it is sent: two of them may be under way at once.
        return await self._client.send(
            step.transition.repeats,
            lambda: self._inner.run(PendingStep(step.space, step.keys, step.transition, reads=step.reads)),
            copies=copies,
        )


class FaultyQueue:
    """A `MessageQueue` as one client reaches it through the faults.

    ```python
    client = FaultyClient(chance=random.Random(seed))
    queue = FaultyQueue(backend.queue("jobs"), client)
    ```
    The client may be a `FaultyStates`, so that both ports share one network. A claim whose reply is lost is not
    repeated: its leases end by themselves. The other verbs are, and a late copy of one may arrive when the message
    has long been completed: a publish then adds it once more.
    """

    def __init__(self, inner: MessageQueue, client: FaultyClient) -> None:
        self.name = inner.name
        self.topic = inner.topic
        self.capabilities = inner.capabilities
        self.runtime: Runtime | None = client.runtime
        self.client = client
        self._inner = inner

    def another(self) -> FaultyQueue:
        """The same queue through one more client."""
        return FaultyQueue(self._inner, self.client.another())

    async def publish(self, messages: Sequence[Message], /) -> Sequence[bool]:
        return await self._send(lambda: self._inner.publish(messages))

    async def claim(self, n: int, lease_s: float, /) -> Claims:
        return await self.client.send("unsafe", lambda: self._inner.claim(n, lease_s), copies=False)

    async def extend(self, claims: Sequence[Claimed], lease_s: float, /) -> Sequence[bool]:
        return await self._send(lambda: self._inner.extend(claims, lease_s))

    async def settle(self, settlements: Sequence[Settlement], /) -> Sequence[bool]:
        return await self._send(lambda: self._inner.settle(settlements))

    async def depth(self) -> QueueDepth:
        return await self._send(self._inner.depth)

    async def withdraw(self, ids: Sequence[str], /) -> Sequence[bool]:
        return await self._send(lambda: self._inner.withdraw(ids))

    async def parked(self, limit: int, after: int = 0, /) -> Sequence[Parked]:
        return await self._send(lambda: self._inner.parked(limit, after))

    async def redrive(self, ids: Sequence[str], /) -> Sequence[bool]:
        return await self._send(lambda: self._inner.redrive(ids))

    async def discard(self, ids: Sequence[str], /) -> Sequence[bool]:
        return await self._send(lambda: self._inner.discard(ids))

    async def _send(self, call: Callable[[], Awaitable[A]]) -> A:
        return await self.client.send("harmless", call, copies=True)
