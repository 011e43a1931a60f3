"""How a contract runs: one backend, opened under one runtime, and a handful of actors.

A contract's tests are written once, as coroutines. `scene` makes a plain test function of each: it
builds the backend, opens it under the runtime that the class names (an asyncio loop, trio, or no
loop at all), and runs the coroutine there. No pytest plugin takes part.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar, cast

from sdpatterns.core.codec import Codec, IntegersCodec
from sdpatterns.core.runtime import finish
from sdpatterns.ports.backend import Backend, HasLogs, HasQueues
from sdpatterns.ports.log import EventLog, LogSettings
from sdpatterns.ports.queue import MessageQueue, QueueSettings
from sdpatterns.ports.signals import SignalBus
from sdpatterns.ports.states import KEYS_MAX, Cells, Overflow, Space

__all__ = ["BackendContract", "BackendUnderTest", "Job", "RuntimeName", "Stage", "run", "scene"]

S = TypeVar("S")
T = TypeVar("T")

Job: TypeAlias = Callable[[], Coroutine[Any, Any, T]]
RuntimeName: TypeAlias = Literal["asyncio", "trio", "blocking"]

THREADS = 8
GROUP = "contract"


class BackendUnderTest(Backend, AbstractAsyncContextManager[Any], Protocol):
    """What a contract needs of a backend. A blocking one has the same methods, which never suspend."""


class BackendContract:
    """What every contract gets from its subclass.

    ```python
    class TestMine(StateStoreContract, StoredStatesContract):
        runtime = "asyncio"

        def build(self):
            return MyBackend("mine://localhost")
    ```
    A subclass that needs a fixture takes it in an autouse fixture of its own and keeps it in `self`.
    """

    runtime: ClassVar[RuntimeName] = "asyncio"

    def build(self) -> BackendUnderTest:
        """A backend that has opened nothing. Each call gives another client of the same store."""
        raise NotImplementedError

    def another(self, backend: BackendUnderTest, /) -> BackendUnderTest:
        """One more client of the same store; `backend` itself where the store lives in this process."""
        return self.build()

    def shift(self, backend: BackendUnderTest, seconds: float, /) -> None:
        """From now on this client's store reads `seconds` more (or less) than before."""
        cast("Any", backend).shift(seconds)


class Stage:
    """One open backend, as a scene sees it. Every stage has spaces of its own on the server."""

    def __init__(self, contract: BackendContract, backend: BackendUnderTest, prefix: str) -> None:
        self.contract = contract
        self.backend = backend
        self.prefix = prefix

    @property
    def runtime(self) -> RuntimeName:
        """The runtime that the scene runs under."""
        return self.contract.runtime

    @property
    def signals(self) -> SignalBus:
        """The backend's signals."""
        return self.backend.signals

    def another(self) -> Stage:
        """The same spaces through one more client; open its `backend` with `async with`."""
        return Stage(self.contract, self.contract.another(self.backend), self.prefix)

    def topic(self, name: str) -> str:
        """A topic that no other test uses."""
        return f"{self.prefix}/{name}"

    def counters(self, space: str = "counters") -> Cells[tuple[int, ...]]:
        """Cells of whole numbers."""
        return self.cells(space, IntegersCodec())

    def cells(self, space: str, codec: Codec[S], *, keys_max: int = KEYS_MAX, overflow: Overflow = "share") -> Cells[S]:
        """Cells in a space of this test's own, in one group."""
        store = self.backend.states
        full = f"{self.prefix}/{space}"
        return store.cells(Space(full, codec, group=GROUP, keys_max=keys_max, overflow=overflow))

    def queue(self, name: str = "jobs", settings: QueueSettings | None = None) -> MessageQueue:
        """A queue of this test's own."""
        full, backend = f"{self.prefix}/{name}", cast("HasQueues", self.backend)
        return backend.queue(full, QueueSettings() if settings is None else settings)

    def log(self, name: str = "events", settings: LogSettings | None = None) -> EventLog:
        """A log of this test's own."""
        full, backend = f"{self.prefix}/{name}", cast("HasLogs", self.backend)
        return backend.log(full, LogSettings() if settings is None else settings)

    def shift(self, seconds: float) -> None:
        """Move the store's time."""
        self.contract.shift(self.backend, seconds)

    async def together(self, jobs: Sequence[Job[T]]) -> list[T]:
        """Run the jobs at once, as tasks or in eight threads, and give their results in order."""
        if self.runtime == "asyncio":
            return await asyncio.gather(*(job() for job in jobs))
        if self.runtime == "trio":
            return await _in_a_nursery(jobs)
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(lambda job: finish(job()), jobs))


async def _in_a_nursery(jobs: Sequence[Job[T]]) -> list[T]:
    import trio

    results: dict[int, T] = {}

    async def one(place: int, job: Job[T]) -> None:
        results[place] = await job()

    async with trio.open_nursery() as nursery:
        for place, job in enumerate(jobs):
            nursery.start_soon(one, place, job)
    return [results[place] for place in range(len(jobs))]


def run(runtime: RuntimeName, work: Job[T]) -> T:
    """Run `work` to its end under the named runtime."""
    if runtime == "asyncio":
        return asyncio.run(work())
    if runtime == "trio":
        import trio

        return trio.run(work)
    return finish(work())


async def opened(stage: Stage, play: Callable[[Stage], Awaitable[None]]) -> None:
    """Play on the stage while its backend is open."""
    async with stage.backend:
        await stage.backend.create()
        await play(stage)


def built(contract: BackendContract) -> Stage:
    """A stage whose backend has opened nothing yet."""
    return Stage(contract, contract.build(), secrets.token_hex(6))


C = TypeVar("C", bound=BackendContract)


def scene(play: Callable[[C, Stage], Coroutine[Any, Any, None]]) -> Callable[[C], None]:
    """A test function that opens a backend and plays the coroutine on it."""

    def test(self: C) -> None:
        stage = built(self)
        run(self.runtime, lambda: opened(stage, lambda on: play(self, on)))

    # Not functools.wraps: pytest would follow it and ask for a fixture named `stage`.
    test.__name__ = getattr(play, "__name__", "test")
    test.__qualname__ = getattr(play, "__qualname__", "test")
    test.__doc__ = play.__doc__
    return test
