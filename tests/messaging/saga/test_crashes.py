"""A worker of sagas dies at each of its calls of the store, before it or after it: the next one ends the run."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from typing import Any

import anyio
import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.messaging.saga import RunStatus, SagaHandle, SagaRun, Sagas, SagaWorker, current_step
from tests.loops import virtual_asyncio

pytestmark = pytest.mark.anyio
anyio_backend = virtual_asyncio


class Died(BaseException):
    """The process is gone."""


class Mortal:
    """Calls a log or a queue for a process that dies at its call number `at`, before it is made or after."""

    def __init__(self, inner: Any, life: Life) -> None:
        self._inner = inner
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in {"append", "read", "trim_stream", "publish", "claim", "extend", "settle"}:
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._life.call(before=True)
            answer = await found(*args, **kwargs)
            self._life.call(before=False)
            return answer

        return call


class Life:
    """When a process dies."""

    def __init__(self, at: int, *, before: bool) -> None:
        self.calls = 0
        self._at = at
        self._before = before
        self.is_over = False

    def call(self, *, before: bool) -> None:
        self.calls += before
        self.is_over = self.is_over or (self.calls == self._at and before == self._before)
        if self.is_over:
            raise Died


class MortalBackend:
    """A backend as one process sees it."""

    def __init__(self, backend: MemoryBackend, life: Life) -> None:
        self._backend = backend
        self._life = life
        self.signals = backend.signals

    def log(self, name: str) -> Any:
        return Mortal(self._backend.log(name), self._life)

    def queue(self, name: str) -> Any:
        return Mortal(self._backend.queue(name), self._life)


class Declined(Exception):
    """The card is not good."""


class Provider:
    """What the services know, by the keys of the requests."""

    def __init__(self, *, declines: bool) -> None:
        self.book: dict[str, int] = {}
        self.asked: Counter[str] = Counter()
        self._declines = declines

    async def add(self, amount: int) -> int:
        return self._noted(amount)

    async def take_away(self, amount: int) -> None:
        self._noted(-amount)

    async def decide(self) -> str:
        if self._declines:
            raise Declined
        return "fine"

    def _noted(self, amount: int) -> int:
        key = current_step().idempotency_key
        self.asked[key] += 1
        self.book.setdefault(key, amount)
        return amount


def sagas_on(backend: Any, provider: Provider) -> Sagas:
    sagas = Sagas("orders", backend=backend)

    @sagas.saga(give_up_on=(Declined,))
    async def order(run: SagaRun, amount: int) -> str:
        await run.step("reserve", provider.add, amount, undo=provider.take_away)
        await run.parallel(
            run.step("charge", provider.add, 2 * amount, undo=provider.take_away),
            run.step("stamp", provider.add, 0, undo=provider.take_away),
        )
        await run.sleep("rest", 30)
        return await run.step("decide", provider.decide)

    return sagas


async def _until_ended(handle: SagaHandle[str], life: Life) -> None:
    while not life.is_over and (await handle.journal()).ended is None:  # noqa: ASYNC110 - a death tells no one
        await anyio.sleep(1)


async def played(at: int, *, before: bool, declines: bool) -> tuple[bool, RunStatus, Provider]:
    """One life of a worker, and then another worker; whether the first one died, and how the run ended."""
    backend, provider = MemoryBackend(), Provider(declines=declines)
    safe = sagas_on(backend, provider)
    handle = await safe.known["order", 1].options(id="1").start(7)
    life = Life(at, before=before)
    with contextlib.suppress(Died):
        async with SagaWorker(sagas_on(MortalBackend(backend, life), provider)):
            await _until_ended(handle, life)
    has_died = life.is_over
    async with SagaWorker(safe):
        with anyio.fail_after(300):
            await _until_ended(handle, Life(0, before=True))
    return has_died, await handle.status(), provider


@pytest.mark.parametrize("declines", [False, True], ids=["completes", "is undone"])
@pytest.mark.parametrize("before", [True, False], ids=["before the call", "after the call"])
async def test_the_run_ends_and_each_effect_is_there_once(*, before: bool, declines: bool) -> None:
    deaths, repeated = 0, 0
    for at in itertools.count(1):
        has_died, status, provider = await played(at, before=before, declines=declines)
        deaths += has_died
        repeated += sum(times - 1 for times in provider.asked.values())
        total = sum(provider.book.values())
        if declines:
            assert (status, total) == (RunStatus.UNDONE, 0), at
            assert len(provider.book) == 6
        else:
            assert (status, total) == (RunStatus.COMPLETED, 21), at
        if not has_died:
            break
    # It died at each call that a whole run makes, and some of the deaths made a step run twice, with one key.
    assert deaths >= 10
    assert repeated >= 1


async def test_a_run_that_has_ended_is_dropped_wherever_the_worker_dies_that_drops_it() -> None:
    for number in itertools.count(2):
        at, before = number // 2, number % 2 == 0
        backend, provider, life = MemoryBackend(), Provider(declines=False), Life(at, before=before)
        safe = sagas_on(backend, provider)
        handle = await safe.known["order", 1].options(id="1").start(7)
        for sagas in (sagas_on(MortalBackend(backend, life), provider), safe):
            with contextlib.suppress(Died):
                for _ in range(5):
                    await SagaWorker(sagas).run_due()
                    await anyio.sleep(8 * 86_400.0)
        assert await handle.status() is RunStatus.DROPPED, at
        for queue in (safe.queue, safe.retained):
            assert (await queue.depth())[:4] == (0, 0, 0, 0), at
        if not life.is_over:
            break
    assert at >= 15


class Losing:
    """A queue whose holder loses its lease at the next renewal, when it is told to."""

    def __init__(self, inner: Any) -> None:
        self.times = 0
        self._inner = inner
        self._is_next = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def lose(self) -> None:
        """Returns only where the lease is kept, which it is not."""
        self._is_next = True
        await anyio.sleep(3_600)

    async def extend(self, claimed: Any, lease_s: float) -> Any:
        if not self._is_next:
            return await self._inner.extend(claimed, lease_s)
        self._is_next, self.times = False, self.times + 1
        return [False for _ in claimed]


async def test_a_run_whose_journal_moves_on_may_lose_its_lease_any_number_of_times(anyio_backend: Any) -> None:
    sagas = Sagas("orders", backend=MemoryBackend())
    sagas.queue = losing = Losing(sagas.queue)  # type: ignore[assignment] # a queue, except for its renewals
    calls: Counter[str] = Counter()

    @sagas.saga
    async def long_way(run: SagaRun) -> str:
        for number in range(30):
            await run.step(f"{number}", call, f"{number}")
        return "there"

    async def call(number: str) -> None:
        calls[number] += 1
        if calls[number] == 1:
            await losing.lose()

    async with SagaWorker(sagas):
        assert await (await long_way.start()).result(timeout_s=3_600) == "there"
    assert losing.times == 30
    assert set(calls.values()) == {2}


async def test_a_run_that_kills_each_worker_at_the_same_step_is_parked(anyio_backend: Any) -> None:
    sagas = Sagas("orders", backend=MemoryBackend())
    sagas.queue = losing = Losing(sagas.queue)  # type: ignore[assignment] # as above

    @sagas.saga
    async def deadly(run: SagaRun) -> None:
        await run.step("first", harmless)
        await run.step("second", losing.lose)

    async def harmless() -> None:
        pass

    async with SagaWorker(sagas):
        handle = await deadly.options(id="1.2.3").start()
        with anyio.fail_after(3_600):
            while await handle.status() is not RunStatus.PARKED:  # noqa: ASYNC110 - no one is told of it
                await anyio.sleep(5)
    assert losing.times == 20
    assert "20 workers lost the run" in str((await handle.journal()).parked)
    losing.times = 0
    async with SagaWorker(sagas):
        assert await handle.resume()
        with anyio.fail_after(3_600):
            while await handle.status() is not RunStatus.PARKED or not losing.times:  # noqa: ASYNC110 - as above
                await anyio.sleep(5)
    assert losing.times == 20, "it is given as many workers again"
