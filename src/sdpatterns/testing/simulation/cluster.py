"""Nodes that run real code, crash, stand still and lose each other, over one store and one bad network.

```
node 1  |--- program ---x crash      |--- program, from its start again ---
node 2  |--- program ------..... stands still .....--- goes on, late ------
node 3  |--- program -------------------------------------------------------
             |          delayed, lost, doubled, parted
           store
```
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.step import Repeats
from sdpatterns.ports.log import EventLog, LogSettings
from sdpatterns.ports.queue import Capability, MessageQueue, QueueSettings
from sdpatterns.testing.faults import FaultPlan, FaultyQueue, Outages, SteppedClock
from sdpatterns.testing.simulation.database import NodeTransaction
from sdpatterns.testing.simulation.loop import Life, NodeLoop
from sdpatterns.testing.simulation.network import NodeClient, NodeLog, NodeSignals, NodeStates
from sdpatterns.testing.simulation.record import Happened, QueueCall, WatchedQueue, WatchedStates

if TYPE_CHECKING:
    from sdpatterns.testing.simulation.world import Run

__all__ = ["TROUBLES", "Cluster", "Node", "Program", "Trouble"]

A = TypeVar("A")

TROUBLES = (
    "delayed", "unsent", "lost_before", "lost_after", "copied", "away", "parted", "stepped",
    "unheard", "crashed", "paused", "moved",
)  # fmt: skip
"""Every kind of fault that a cluster knows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trouble:
    """How bad it gets: `network` for each request, the rest for each node about every `look_s`, as chances from 0 to 1.

    | fault | what happens |
    |---|---|
    | those of `FaultPlan` | delays, lost and doubled requests, outages, partitions, steps of the store's clock |
    | `unheard` | a wake-up does not reach the node |
    | `crashed` | all tasks of the node are gone, without a `finally`; it starts again within `down_max_s` |
    | `paused` | the node stands still for up to `pause_max_s`, and goes on as if nothing had happened |
    | `moved` | the node's own wall clock jumps by up to `move_max_s`, either way |
    """

    network: FaultPlan = dataclasses.field(default_factory=FaultPlan)
    unheard: float = 0.1
    crashed: float = 0.03
    paused: float = 0.04
    moved: float = 0.03
    down_max_s: float = 10.0
    pause_max_s: float = 10.0
    move_max_s: float = 3600.0
    look_s: float = 1.0


Program: TypeAlias = Callable[["Node"], Coroutine[Any, Any, None]]
"""What a node runs from its start on, and again from the start after a crash."""


class Node:
    """One machine: its program, its way to the store, its own random numbers in `chance`.

    A node is a backend: `states`, `signals`, `queue(name)` and `log(name)` are what patterns are built on. Build them
    in the program, because a node that crashed starts with nothing.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        luck = cluster.run.luck
        self.name = name
        self.chance = luck.stream(name, "chance")
        self.state: Literal["down", "up", "still"] = "down"
        self.life = Life()
        self.client = NodeClient(name, luck, cluster.trouble.network, cluster.outages, cluster.clock.step)
        self.states = NodeStates(cluster.states, self.client)
        self.signals = NodeSignals(cluster.backend.signals, self.client)
        self._cluster = cluster
        self._ids = 0
        self._task: asyncio.Task[None] | None = None

    def queue(self, name: str, /, settings: QueueSettings | None = None) -> MessageQueue:
        """The queue of that name, as this node reaches it."""
        return FaultyQueue(self._cluster.queue(name, settings), self.client)

    def log(self, name: str, /, settings: LogSettings | None = None) -> EventLog:
        """The log of that name, as this node reaches it."""
        return NodeLog(self._cluster.log(name, settings), self.client, self.signals)

    def ids(self) -> str:
        """An id that no other call gives, and the same in each run of a seed."""
        self._ids += 1
        return f"{self.name}#{self._ids:x}"

    async def send(self, call: Callable[[], Awaitable[A]], *, repeats: Repeats = "unsafe") -> A:
        """Ask another machine through the network.

        The call happens late, or not at all; or twice, if `repeats` is `"harmless"`. Raises `BackendUnavailable`
        where it did not happen, and `OutcomeUnknown` where the answer was lost.
        """
        return await self.client.send(repeats, call, copies=True)

    def transaction(self) -> NodeTransaction:
        """A transaction on the store: rows of your own, cells, messages and events, all or nothing."""
        return NodeTransaction(self, self._cluster)

    def within(self, transaction: NodeTransaction) -> NodeTransaction:
        """The ports inside a transaction of this node's: the transaction itself has them."""
        return transaction

    def start(self, program: Program) -> None:
        """Begin a life."""
        loop = cast("NodeLoop", asyncio.get_running_loop())
        self.life, self.state = Life(self.life.shift_us), "up"
        task: asyncio.Task[None] = loop.create_task(program(self), context=loop.context_of(self.life))
        task.add_done_callback(self._cluster.ended, context=contextvars.Context())
        self._task = task

    def crash(self) -> None:
        """End this life in the middle of whatever it does."""
        self.life.stand_still()
        self.life.is_over = True
        self._cluster.ended_lives.append(self.life)
        self.state = "down"

    def stand_still(self) -> None:
        """Run nothing until `go_on`, while time passes."""
        self.life.stand_still()
        self.state = "still"

    def go_on(self) -> None:
        """Run on after it stood still."""
        self.life.go_on(cast("NodeLoop", asyncio.get_running_loop()))
        self.state = "up"

    async def stop(self) -> None:
        """Cancel its program, and wait until that has ended as a program does."""
        task = self._task
        if task is not None and self.state == "up":
            task.cancel()
            await asyncio.wait({task})
            self.state = "down"

    def __repr__(self) -> str:
        return f"<Node {self.name}, {self.state}>"


class Cluster:
    """Some nodes and one store: `run.cluster(nodes=3, trouble=run.trouble())`.

    It is a backend too, for the judge: without faults. `rows` are those that transactions have committed. `tell` gets
    each step on the store's cells, and `told` each call of a queue, at the moment at which it takes effect.
    """

    def __init__(
        self,
        run: Run,
        *,
        nodes: int,
        trouble: Trouble,
        tell: Callable[[Happened], None] = lambda happened: None,
        told: Callable[[QueueCall], None] = lambda call: None,
    ) -> None:
        self.run = run
        self.trouble = trouble
        self.clock = SteppedClock(run.now_us)
        self.backend = MemoryBackend(clock=self.clock)
        self.states = WatchedStates(self.backend.states, self._told_of(tell))
        self.signals = self.backend.signals
        self.outages = Outages()
        self.rows: dict[Hashable, Any] = {}
        self.ended_lives: list[Life] = []
        self.is_troubled = False
        self._told = told
        self._program: Program | None = None
        self._errands: set[asyncio.Task[None]] = set()
        self.nodes = [Node(self, f"n{number}") for number in range(1, nodes + 1)]
        for node in self.nodes:
            node.client.calm()
        run.at_the_end(self._end)

    def queue(self, name: str, settings: QueueSettings | None = None) -> MessageQueue:
        """The queue of that name, as the judge reaches it: without faults."""
        queue = WatchedQueue(self.backend.queue(name, settings), self.clock, self._noted)
        in_transactions: frozenset[Capability] = frozenset({"transaction"})
        queue.capabilities |= in_transactions
        return queue

    def log(self, name: str, settings: LogSettings | None = None) -> EventLog:
        """The log of that name, as the judge reaches it: without faults."""
        return self.backend.log(name, settings)

    def start(self, program: Program) -> None:
        """Start all nodes."""
        self._program = program
        for node in self.nodes:
            node.start(program)

    async def suffer(self, seconds: float) -> None:
        """Let everything go wrong for so long; afterwards all nodes are up and the network is well."""
        self.is_troubled = True
        for node in self.nodes:
            node.client.trouble(self.trouble.unheard)
            self._errand(self._plague(node))
        await asyncio.sleep(seconds)
        self.heal()

    def heal(self) -> None:
        """End all trouble now. What is under way still arrives."""
        self.is_troubled = False
        self.outages.away_until = float("-inf")
        self.clock.run_on()
        for node in self.nodes:
            node.client.calm()
            self._up_again(node)

    async def all_arrived(self) -> None:
        """Wait until the last late copy of a request has reached the store."""
        while self.outages.copies:
            last_s = max(at_s for at_s, _ in self.outages.copies)
            await asyncio.sleep(max(0.0, last_s - SYSTEM.monotonic()) + 1e-6)
            await self.nodes[0].client.network.deliver()

    async def stop(self) -> None:
        """Cancel the programs, and wait for their ends. None starts again."""
        self.is_troubled = False
        self._program = None
        for node in self.nodes:
            await node.stop()

    def ended(self, task: asyncio.Task[None]) -> None:
        """A program has ended: what it raised is a violation."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.run.violated(f"a program ended with {error!r}")

    def _noted(self, call: QueueCall) -> None:
        self.run.note(call.verb, call.now_us, repr(call.answer))
        self._told(call)

    def _told_of(self, tell: Callable[[Happened], None]) -> Callable[[Happened], None]:
        def noted(happened: Happened) -> None:
            self.run.note(type(happened.step).__name__, happened.keys, happened.now_us, repr(happened.answer))
            tell(happened)

        return noted

    def _errand(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _plague(self, node: Node) -> None:
        """What strikes a node as a whole: at moments of its own."""
        luck, trouble = self.run.luck, self.trouble
        moments = luck.stream(node.name, "moments")
        while True:
            await asyncio.sleep(2 * trouble.look_s * moments.random())
            if not self.is_troubled:
                return
            size = luck.draw(node.name, "moved", trouble.moved)
            if size is not None:
                node.life.shift_us += int((2 * size - 1) * trouble.move_max_s * 1e6)
            if node.state == "up" and (size := luck.draw(node.name, "crashed", trouble.crashed)) is not None:
                node.crash()
                self._errand(self._later(node, node.life, size * trouble.down_max_s))
            if node.state == "up" and (size := luck.draw(node.name, "paused", trouble.paused)) is not None:
                node.stand_still()
                self._errand(self._later(node, node.life, size * trouble.pause_max_s))

    async def _later(self, node: Node, life: Life, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if node.life is life:
            self._up_again(node)

    def _up_again(self, node: Node) -> None:
        if node.state == "still":
            node.go_on()
        elif node.state == "down" and self._program is not None:
            node.start(self._program)

    def _end(self) -> None:
        """The run is judged: lives that ended in the middle end properly now, and reach nothing."""
        self.is_troubled = False
        self._program = None
        loop = cast("NodeLoop", asyncio.get_running_loop())
        for node in self.nodes:
            node.client.cut()
        for life in [*self.ended_lives, *(node.life for node in self.nodes)]:
            life.go_on(loop)
