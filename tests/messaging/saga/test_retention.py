"""What becomes of the journals of runs that have ended, and of runs that have not."""

from __future__ import annotations

import anyio
import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.notices import Notice, listen
from sdpatterns.errors import SagaDropped, SagaUndone
from sdpatterns.messaging.saga import RunStatus, SagaRun, Sagas, SagaWorker
from tests.loops import each_virtual_loop

anyio_backend = each_virtual_loop
pytestmark = pytest.mark.anyio

DAY_S = 86_400.0


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def sagas(backend: MemoryBackend) -> Sagas:
    return Sagas("orders", backend=backend, keep_s=7 * DAY_S)


async def count(number: int) -> int:
    return number


async def away() -> None:
    raise ConnectionError("reset")


async def streams(sagas: Sagas) -> set[str]:
    """The runs of which anything is kept."""
    return {event.stream for event in (await sagas.log.read_all((await sagas.log.head()).trimmed, 1_000)).events}


async def messages(sagas: Sagas) -> int:
    depths = [await queue.depth() for queue in (sagas.queue, sagas.retained)]
    return sum(depth.due + depth.waiting + depth.leased for depth in depths)


async def test_a_run_that_has_ended_is_dropped_after_that_time_and_not_before(sagas: Sagas) -> None:
    ran: list[int] = []

    @sagas.saga
    async def order(run: SagaRun) -> int:
        ran.append(1)
        return await run.step("count", count, 7)

    async with SagaWorker(sagas, poll_s=3600):
        handle = await order.options(id="1").start()
        assert await handle.result(5) == 7
        await anyio.sleep(7 * DAY_S - 60)
        assert await handle.result(5) == 7
        assert (await sagas.queue.depth())[:4] == (0, 0, 0, 0), "it is no work"
        assert (await sagas.retained.depth()).waiting == 1
        await anyio.sleep(120)
        assert await streams(sagas) == set()
        assert await handle.status() is RunStatus.DROPPED
        with pytest.raises(SagaDropped, match="run '1' of 'orders' has ended, and its journal is no longer kept"):
            await handle.result(5)
        assert not await handle.signal("late")
        assert not await handle.cancel()
        # The id is used up: nothing runs again.
        again = await order.options(id="1").start()
        await anyio.sleep(60)
        assert await again.status() is RunStatus.DROPPED
    assert ran == [1]
    assert await messages(sagas) == 0


async def test_runs_that_wait_or_are_parked_stay(sagas: Sagas) -> None:
    @sagas.saga(attempts_max=1)
    async def order(run: SagaRun, *, fails: bool) -> object:
        if fails:
            await run.step("call", away)
        return await run.signal("approved")

    async with SagaWorker(sagas, poll_s=3600):
        waits, parked = [await order.options(id=it).start(fails=it == "parked") for it in ("waits", "parked")]
        await anyio.sleep(30 * DAY_S)
        assert await parked.status() is RunStatus.PARKED
        await waits.signal("approved", "Ada")
        assert await waits.result(5) == "Ada"


async def test_a_child_stays_until_its_parent_has_ended_because_that_may_undo_it(sagas: Sagas) -> None:
    undone: list[int] = []

    @sagas.saga
    async def child(run: SagaRun) -> int:
        return await run.step("count", count, 7)

    @sagas.saga(give_up_on=(ConnectionError,))
    async def parent(run: SagaRun) -> None:
        await run.child("part", child, undo=undone.append)
        await run.sleep("long", 20 * DAY_S)
        await run.step("call", away)

    async with SagaWorker(sagas, poll_s=3600):
        handle = await parent.options(id="1").start()
        await anyio.sleep(19 * DAY_S)
        assert await streams(sagas) == {"1", "1/part"}
        with pytest.raises(SagaUndone):
            await handle.result(2 * DAY_S)
        assert undone == [7]
        await anyio.sleep(2 * DAY_S)
        assert await streams(sagas) == {"1"}
        await anyio.sleep(7 * DAY_S)
        assert await streams(sagas) == set()
    assert await messages(sagas) == 0


async def test_it_keeps_journals_until_the_log_is_trimmed_where_there_is_no_such_time(backend: MemoryBackend) -> None:
    sagas = Sagas("orders", backend=backend, keep_s=None)

    @sagas.saga
    async def order(run: SagaRun) -> int:
        return 7

    async with SagaWorker(sagas, poll_s=3600):
        handle = await order.start()
        await handle.result(5)
        await anyio.sleep(1)
        assert await messages(sagas) == 0
        await anyio.sleep(400 * DAY_S)
        assert await handle.result(5) == 7


async def test_a_worker_that_died_while_it_dropped_a_run_is_followed_by_another_one(sagas: Sagas) -> None:
    @sagas.saga
    async def order(run: SagaRun) -> int:
        return await run.step("count", count, 7)

    for dropped in (2, 5):
        handle = await order.options(id=str(dropped)).start()
        async with SagaWorker(sagas):
            await handle.result(5)
        await sagas.log.trim_stream(handle.id, dropped)
        await anyio.sleep(8 * DAY_S)
        await SagaWorker(sagas).run_due()
        assert await streams(sagas) == set()
        assert await messages(sagas) == 0


async def test_a_run_under_way_whose_entries_were_trimmed_is_parked_and_not_dropped(sagas: Sagas) -> None:
    @sagas.saga
    async def order(run: SagaRun) -> None:
        await run.sleep("long", DAY_S)
        await run.step("count", count, 7)

    await order.options(id="1").start()
    await SagaWorker(sagas).run_due()
    await sagas.log.trim_stream("1", 2)
    await anyio.sleep(2 * DAY_S)
    await SagaWorker(sagas).run_due()
    [parked] = await sagas.queue.parked(10)
    assert parked.reason == "the beginning of its journal was trimmed, and it has not ended"


async def test_a_message_that_waits_in_the_queue_of_runs_since_an_earlier_release_moves_to_its_own(
    sagas: Sagas,
) -> None:
    @sagas.saga
    async def order(run: SagaRun) -> int:
        return await run.step("count", count, 7)

    notices: list[Notice] = []
    handle = await order.options(id="1").start()
    await SagaWorker(sagas).run_due()
    await sagas.queue.publish((sagas.driver("1"),))
    with listen(notices.append):
        await SagaWorker(sagas).run_due()
    assert notices == [], "its end has been told"
    assert (await sagas.queue.depth())[:4] == (0, 0, 0, 0)
    await anyio.sleep(8 * DAY_S)
    await SagaWorker(sagas).run_due()
    assert await handle.status() is RunStatus.DROPPED
    assert await messages(sagas) == 0


def test_the_time_is_checked(backend: MemoryBackend) -> None:
    with pytest.raises(ValueError, match="keep_s"):
        Sagas("orders", backend=backend, keep_s=0)
