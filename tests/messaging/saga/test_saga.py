"""Sagas on virtual time: what is run, what is undone, and what waits for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import anyio
import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.notices import Notice, listen
from sdpatterns.core.tracing import trace_with
from sdpatterns.errors import DeadlineExceeded, SagaCancelled, SagaNotStarted, SagaUndone
from sdpatterns.messaging.saga import RunStatus, SagaRun, Sagas, SagaWorker, current_step
from sdpatterns.messaging.saga.journal import StepDone, encoded
from sdpatterns.messaging.saga.notices import SagaEnded, SagaParked, StepRepeated
from sdpatterns.observability.recording import RecordingTracer, SpanStore
from sdpatterns.ports.log import Appended, Expected, NewEvent
from sdpatterns.ports.queue import Complete, Requeue
from tests.loops import each_virtual_loop

anyio_backend = each_virtual_loop
pytestmark = pytest.mark.anyio


class OutOfStock(Exception):
    """There is none left."""


class Shop:
    """Services that remember what they were asked, by the key of the request."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.keys: list[str] = []
        self.failures: dict[str, list[Exception]] = {}

    def _called(self, what: str) -> None:
        self.calls.append(what)
        self.keys.append(current_step().idempotency_key)
        waiting = self.failures.get(what, [])
        if waiting:
            raise waiting.pop(0)

    async def reserve(self, article: str) -> str:
        self._called("reserve")
        return f"reserved {article}"

    async def release(self, reservation: str) -> None:
        self._called(f"release {reservation}")

    async def charge(self, cents: int) -> int:
        self._called("charge")
        return cents

    async def refund(self, cents: int) -> None:
        self._called(f"refund {cents}")

    async def ship(self) -> str:
        self._called("ship")
        return "parcel"


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def sagas(backend: MemoryBackend) -> Sagas:
    return Sagas("orders", backend=backend)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def heard() -> Iterator[list[Notice]]:
    notices: list[Notice] = []
    with listen(notices.append):
        yield notices


def declare(sagas: Sagas, shop: Shop, *, attempts_max: int = 3):  # type: ignore[no-untyped-def] # a Saga of two arguments
    @sagas.saga(give_up_on=(OutOfStock,), attempts_max=attempts_max)
    async def place_order(run: SagaRun, article: str, cents: int) -> str:
        reservation = await run.step("reserve", shop.reserve, article, undo=shop.release)
        paid = await run.step("charge", shop.charge, cents, undo=shop.refund)
        parcel = await run.step("ship", shop.ship)
        return f"{reservation}, {paid} paid, {parcel}"

    return place_order


async def test_each_step_runs_once_and_the_result_arrives(sagas: Sagas, shop: Shop, heard: list[Notice]) -> None:
    place_order = declare(sagas, shop)
    async with SagaWorker(sagas):
        handle = await place_order.options(id="order-1").start("lamp", 900)
        assert await handle.result(timeout_s=5) == "reserved lamp, 900 paid, parcel"
    assert shop.calls == ["reserve", "charge", "ship"]
    assert shop.keys == ["orders/order-1/reserve", "orders/order-1/charge", "orders/order-1/ship"]
    assert await handle.status() is RunStatus.COMPLETED
    assert [notice.status for notice in heard if isinstance(notice, SagaEnded)] == ["completed"]


async def test_a_run_costs_one_append_for_each_step_and_two_more(
    sagas: Sagas, shop: Shop, backend: MemoryBackend
) -> None:
    place_order = declare(sagas, shop)
    handle = await place_order.start("lamp", 900)
    log = sagas.log
    appends: list[int] = []
    inner = log.append

    async def counted(stream, expected, events):  # type: ignore[no-untyped-def] # as it is called
        appends.append(len(events))
        return await inner(stream, expected, events)

    log.append = counted  # type: ignore[method-assign]
    async with SagaWorker(sagas):
        await handle.result(timeout_s=5)
    # reserve began | reserve done, charge began | charge done, ship began | ship done, run ended
    assert appends == [1, 2, 2, 2]


async def test_what_is_done_is_undone_backwards_with_its_result(sagas: Sagas, shop: Shop) -> None:
    place_order = declare(sagas, shop)
    shop.failures["ship"] = [OutOfStock("no box")]
    async with SagaWorker(sagas):
        handle = await place_order.options(id="order-2").start("lamp", 900)
        with pytest.raises(SagaUndone, match="OutOfStock: no box") as caught:
            await handle.result(timeout_s=5)
    assert isinstance(caught.value.__cause__, OutOfStock)
    assert shop.calls == ["reserve", "charge", "ship", "refund 900", "release reserved lamp"]
    assert shop.keys[-2:] == ["orders/order-2/charge/undo", "orders/order-2/reserve/undo"]


async def test_a_saga_may_handle_a_declared_failure_itself(sagas: Sagas, shop: Shop) -> None:
    @sagas.saga(give_up_on=(OutOfStock,))
    async def order(run: SagaRun) -> str:
        try:
            return await run.step("reserve a lamp", shop.reserve, "lamp")
        except OutOfStock as error:
            await run.sleep("think", 60)
            return f"{error}: {await run.step('reserve a candle', shop.reserve, 'candle')}"

    shop.failures["reserve"] = [OutOfStock("no lamp")]
    async with SagaWorker(sagas):
        # The sleep makes the function begin again, where the failure comes from the journal.
        result = await (await order.start()).result(timeout_s=120)
    assert result == "no lamp: reserved candle"
    assert shop.calls == ["reserve", "reserve"]


async def test_another_failure_is_tried_again_with_the_same_key(sagas: Sagas, shop: Shop, heard: list[Notice]) -> None:
    place_order = declare(sagas, shop)
    shop.failures["charge"] = [ConnectionError("reset"), TimeoutError("slow")]
    async with SagaWorker(sagas):
        handle = await place_order.start("lamp", 900)
        await handle.result(timeout_s=600)
    assert shop.calls == ["reserve", "charge", "charge", "charge", "ship"]
    assert len({key for key in shop.keys if key.endswith("/charge")}) == 1
    assert [notice.error for notice in heard if isinstance(notice, StepRepeated)] == ["ConnectionError", "TimeoutError"]


async def test_a_step_without_an_answer_parks_the_run_until_it_is_resumed(
    sagas: Sagas, shop: Shop, heard: list[Notice]
) -> None:
    place_order = declare(sagas, shop, attempts_max=2)
    shop.failures["charge"] = [ConnectionError("reset")] * 2
    async with SagaWorker(sagas):
        handle = await place_order.start("lamp", 900)
        with pytest.raises(DeadlineExceeded):
            await handle.result(timeout_s=600)
        journal = await handle.journal()
        assert journal.status is RunStatus.PARKED
        assert journal.parked is not None
        assert "attempt 2 of 2: ConnectionError: reset" in journal.parked
        assert [letter.id for letter in await sagas.queue.parked(10)] == [handle.id]
        assert [notice.id for notice in heard if isinstance(notice, SagaParked)] == [handle.id]
        assert await handle.resume()
        assert await handle.result(timeout_s=600) == "reserved lamp, 900 paid, parcel"
        assert not await handle.resume()
    assert shop.calls == ["reserve", "charge", "charge", "charge", "ship"]


async def test_an_undo_that_fails_is_tried_again_and_then_parked(sagas: Sagas, shop: Shop) -> None:
    place_order = declare(sagas, shop, attempts_max=2)
    shop.failures["ship"] = [OutOfStock("no box")]
    shop.failures["refund 900"] = [ConnectionError("reset")] * 2
    async with SagaWorker(sagas):
        handle = await place_order.start("lamp", 900)
        with pytest.raises(DeadlineExceeded):
            await handle.result(timeout_s=600)
        assert await handle.status() is RunStatus.PARKED
        await handle.resume()
        with pytest.raises(SagaUndone):
            await handle.result(timeout_s=600)
    assert shop.calls[-4:] == ["refund 900", "refund 900", "refund 900", "release reserved lamp"]


async def test_after_the_pivot_nothing_is_undone(sagas: Sagas, shop: Shop) -> None:
    @sagas.saga(give_up_on=(OutOfStock,))
    async def order(run: SagaRun) -> None:
        await run.step("reserve", shop.reserve, "lamp", undo=shop.release)
        await run.pivot("charge", shop.charge, 900)
        await run.sleep("cool", 60)
        await run.step("ship", shop.ship)

    shop.failures["ship"] = [OutOfStock("no box")]
    async with SagaWorker(sagas):
        handle = await order.start()
        await anyio.sleep(1)
        assert not await handle.cancel()
        with pytest.raises(DeadlineExceeded):
            await handle.result(timeout_s=600)
        journal = await handle.journal()
    assert journal.parked == "failed after its pivot: OutOfStock: no box"
    assert shop.calls == ["reserve", "charge", "ship"]


async def test_a_pivot_that_fails_lets_the_rest_be_undone(sagas: Sagas, shop: Shop) -> None:
    @sagas.saga(give_up_on=(OutOfStock,))
    async def order(run: SagaRun) -> None:
        await run.step("reserve", shop.reserve, "lamp", undo=shop.release)
        await run.pivot("charge", shop.charge, 900)

    shop.failures["charge"] = [OutOfStock("card declined")]
    async with SagaWorker(sagas):
        with pytest.raises(SagaUndone):
            await (await order.start()).result(timeout_s=5)
    assert shop.calls == ["reserve", "charge", "release reserved lamp"]


@pytest.mark.parametrize("sleep_s", [7_200, pytest.param(2 * 86_400, marks=pytest.mark.long)])
async def test_a_run_that_sleeps_holds_no_worker(sleep_s: int, sagas: Sagas, shop: Shop) -> None:
    @sagas.saga
    async def order(run: SagaRun) -> str:
        await run.step("reserve", shop.reserve, "lamp")
        await run.sleep("until then", sleep_s)
        return await run.step("ship", shop.ship)

    worker = SagaWorker(sagas, concurrency=1)
    async with worker:
        handle = await order.start()
        await anyio.sleep(sleep_s / 2)
        assert (worker.running, shop.calls) == (0, ["reserve"])
        assert await handle.result(timeout_s=sleep_s) == "parcel"
    assert shop.calls == ["reserve", "ship"]


async def test_who_does_not_wait_for_the_undo_is_told_of_the_failure_at_once(sagas: Sagas, shop: Shop) -> None:
    began = anyio.Event()

    async def slow_undo(_: object) -> None:
        began.set()
        await anyio.sleep(600)

    @sagas.saga(give_up_on=(OutOfStock,))
    async def order(run: SagaRun) -> None:
        await run.step("reserve", shop.reserve, "lamp", undo=slow_undo)
        raise OutOfStock("no money")

    async with SagaWorker(sagas):
        handle = await order.start()
        began_s = anyio.current_time()
        with pytest.raises(SagaUndone, match="no money") as failed:
            await handle.result(timeout_s=60, wait_for_undo=False)
        assert anyio.current_time() - began_s < 1, "it is woken, and does not look after a while"
        assert isinstance(failed.value.__cause__, OutOfStock)
        await began.wait()
        assert await handle.status() is RunStatus.UNDOING
        with pytest.raises(DeadlineExceeded):
            await handle.result(timeout_s=1)
        with pytest.raises(SagaUndone):
            await handle.result(timeout_s=900)


async def test_the_spans_of_a_run_name_the_service_of_its_worker(sagas: Sagas, shop: Shop) -> None:
    @sagas.saga
    async def order(run: SagaRun) -> None:
        await run.step("reserve", shop.reserve, "lamp")

    store = SpanStore()
    with trace_with(RecordingTracer(store)):
        async with SagaWorker(sagas, service="ordering"):
            await (await order.start()).result(timeout_s=5)
    found = {(span.name, span.service) for trace in store.recent(50) for span in store.spans(trace.trace_id)}
    assert found >= {("saga order", "ordering"), ("step reserve", "ordering")}


@pytest.mark.parametrize("delay_s", [0, 30])
async def test_a_signal_is_taken_whether_it_comes_before_or_while_the_run_waits(
    sagas: Sagas, shop: Shop, delay_s: float
) -> None:
    @sagas.saga
    async def order(run: SagaRun) -> object:
        await run.step("reserve", shop.reserve, "lamp")
        return await run.signal("approved", timeout_s=3600)

    handle = await order.start()
    if not delay_s:
        await handle.signal("approved", {"by": "Ada"})
    async with SagaWorker(sagas):
        if delay_s:
            await anyio.sleep(delay_s)
            assert await handle.signal("approved", {"by": "Ada"})
            assert await handle.signal("approved", {"by": "Bob"})
        assert await handle.result(timeout_s=5) == {"by": "Ada"}
    assert not await handle.signal("approved", None)
    with pytest.raises(LookupError, match="no run 'nobody'"):
        await sagas.handle("nobody").signal("approved", 1)


async def test_a_signal_that_comes_while_a_worker_has_the_run_wakes_it(sagas: Sagas) -> None:
    reached, may_go = anyio.Event(), anyio.Event()

    async def slow() -> None:
        reached.set()
        await may_go.wait()

    @sagas.saga
    async def order(run: SagaRun) -> object:
        await run.step("slow", slow)
        return await run.signal("approved")

    async with SagaWorker(sagas):
        handle = await order.start()
        await reached.wait()
        await handle.signal("approved", 1)
        may_go.set()
        assert await handle.result(timeout_s=30) == 1


async def test_a_wait_for_a_signal_ends_in_time_and_a_later_signal_changes_nothing(sagas: Sagas) -> None:
    @sagas.saga
    async def order(run: SagaRun) -> str:
        try:
            await run.signal("approved", timeout_s=10)
        except TimeoutError:
            await run.sleep("grace", 60)
            return "not approved"
        return "approved"

    async with SagaWorker(sagas):
        handle = await order.start()
        await anyio.sleep(30)
        await handle.signal("approved", 1)
        assert await handle.result(timeout_s=600) == "not approved"


async def test_a_run_that_is_cancelled_is_undone(sagas: Sagas, shop: Shop) -> None:
    seen: list[BaseException] = []

    @sagas.saga
    async def order(run: SagaRun) -> None:
        await run.step("reserve", shop.reserve, "lamp", undo=shop.release)
        try:
            await run.sleep("a day", 86_400)
        except SagaCancelled as error:
            seen.append(error)
            raise
        await run.step("ship", shop.ship)

    async with SagaWorker(sagas):
        handle = await order.start()
        await anyio.sleep(60)
        assert await handle.cancel("the customer said so")
        with pytest.raises(SagaUndone, match="the customer said so"):
            await handle.result(timeout_s=5)
        assert not await handle.cancel()
    assert shop.calls == ["reserve", "release reserved lamp"]
    assert len(seen) == 1


async def test_a_cancellation_that_is_accepted_while_the_pivot_begins_is_kept(
    sagas: Sagas, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the simulated world of sagas, seed 139: the customer was told yes, and charged."""
    append = sagas.log.append
    accepted: list[bool] = []

    async def interrupted(stream: str, expected: Expected, events: Sequence[NewEvent], /) -> Appended:
        if not accepted and any(event.type == "step-began" and b"charge" in event.data for event in events):
            accepted.append(True)
            accepted[0] = await sagas.handle(stream).cancel("too dear")
        return await append(stream, expected, events)

    monkeypatch.setattr(sagas.log, "append", interrupted)

    @sagas.saga
    async def order(run: SagaRun) -> None:
        await run.step("reserve", shop.reserve, "lamp", undo=shop.release)
        await run.pivot("charge", shop.charge, 900)

    async with SagaWorker(sagas):
        handle = await order.start()
        with pytest.raises(SagaUndone, match="too dear"):
            await handle.result(timeout_s=60)
    assert accepted == [True]
    assert shop.calls == ["reserve", "release reserved lamp"]


async def test_branches_run_side_by_side(sagas: Sagas, shop: Shop) -> None:
    started: list[float] = []

    async def slow(name: str) -> str:
        started.append(anyio.current_time())
        await anyio.sleep(10)
        return name

    @sagas.saga
    async def order(run: SagaRun) -> tuple[str, str]:
        return await run.parallel(run.step("a", slow, "a"), run.step("b", slow, "b"))

    async with SagaWorker(sagas):
        handle = await order.start()
        assert await handle.result(timeout_s=60) == ("a", "b")
    assert len(started) == 2
    assert started[1] - started[0] < 1


async def test_a_branch_that_fails_waits_for_the_answers_of_the_others(sagas: Sagas, shop: Shop) -> None:
    @sagas.saga(give_up_on=(OutOfStock,))
    async def order(run: SagaRun) -> None:
        await run.parallel(
            run.step("reserve", shop.reserve, "lamp", undo=shop.release),
            run.step("charge", shop.charge, 900, undo=shop.refund),
        )

    shop.failures["reserve"] = [OutOfStock("none")]
    shop.failures["charge"] = [TimeoutError("slow")]
    async with SagaWorker(sagas):
        with pytest.raises(SagaUndone, match="none"):
            await (await order.start()).result(timeout_s=600)
    # The charge timed out, so it is not known whether it was made: it is made with its key, and then refunded.
    assert shop.calls[-2:] == ["charge", "refund 900"]
    # Which branch begins first is for the runtime to say.
    assert sorted(shop.calls[:2]) == ["charge", "reserve"]


async def test_a_child_runs_by_itself_and_its_parent_gets_the_result(sagas: Sagas, shop: Shop) -> None:
    @sagas.saga
    async def deliver(run: SagaRun, article: str) -> str:
        await run.sleep("the carrier", 3600)
        return f"{article}: {await run.step('ship', shop.ship)}"

    @sagas.saga
    async def order(run: SagaRun) -> str:
        return await run.child("delivery", deliver, "lamp")

    async with SagaWorker(sagas):
        handle = await order.options(id="order-3").start()
        assert await handle.result(timeout_s=7200) == "lamp: parcel"
        assert await sagas.handle("order-3/delivery").status() is RunStatus.COMPLETED


async def test_a_child_is_cancelled_when_its_parent_is(sagas: Sagas, shop: Shop) -> None:
    @sagas.saga
    async def deliver(run: SagaRun) -> None:
        await run.step("reserve", shop.reserve, "van", undo=shop.release)
        await run.sleep("the carrier", 3600)

    @sagas.saga
    async def order(run: SagaRun) -> None:
        await run.child("delivery", deliver)

    async with SagaWorker(sagas):
        handle = await order.options(id="order-4").start()
        await anyio.sleep(60)
        await handle.cancel()
        with pytest.raises(SagaUndone):
            await handle.result(timeout_s=60)
        with pytest.raises(SagaUndone):
            await sagas.handle("order-4/delivery").result(timeout_s=60)
    assert shop.calls == ["reserve", "release reserved van"]


async def test_a_run_keeps_the_version_that_it_was_started_with(backend: MemoryBackend, shop: Shop) -> None:
    old = Sagas("orders", backend=backend)

    @old.saga(name="order")
    async def order_1(run: SagaRun) -> str:
        await run.sleep("wait", 60)
        return "by version 1"

    handle = await order_1.start()
    async with SagaWorker(old):
        await anyio.sleep(1)
    both = Sagas("orders", backend=backend)
    both.saga(name="order")(order_1.function)

    @both.saga(name="order", version=2)
    async def order_2(run: SagaRun) -> str:
        return "by version 2"

    async with SagaWorker(both):
        second = await order_2.start()
        assert await second.result(timeout_s=5) == "by version 2"
        assert await handle.result(timeout_s=600) == "by version 1"


async def test_a_worker_of_an_older_release_leaves_a_newer_run_alone(backend: MemoryBackend) -> None:
    old, new = Sagas("orders", backend=backend), Sagas("orders", backend=backend)

    @old.saga(name="order")
    async def order_1(run: SagaRun) -> str:
        return "by version 1"

    @new.saga(name="order", version=2)
    async def order_2(run: SagaRun) -> str:
        return "by version 2"

    handle = await order_2.start()
    async with SagaWorker(old):
        await anyio.sleep(10)
        assert await handle.status() is RunStatus.RUNNING
    async with SagaWorker(new):
        assert await handle.result(timeout_s=600) == "by version 2"


async def test_a_version_that_is_gone_from_the_code_parks_the_run(backend: MemoryBackend) -> None:
    old, new = Sagas("orders", backend=backend), Sagas("orders", backend=backend)

    @old.saga(name="order")
    async def order_1(run: SagaRun) -> str:
        return "by version 1"

    @new.saga(name="order", version=2)
    async def order_2(run: SagaRun) -> str:
        return "by version 2"

    handle = await order_1.start()
    async with SagaWorker(new):
        await anyio.sleep(10)
    assert (await handle.journal()).parked == "version 1 of 'order' is gone from the code, which has [2]"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("another step", "the journal goes on with 'charge', and the code asks for step 'ship'"),
        ("no more steps", "the journal goes on with 'charge', and the code is at its end"),
        ("another kind", "'charge' is a step in the journal, and a sleep in the code"),
        ("the same name twice", "two steps are called 'reserve'"),
    ],
)
async def test_a_journal_that_does_not_fit_the_code_parks_the_run(
    backend: MemoryBackend, shop: Shop, change: str, why: str
) -> None:
    old, new = Sagas("orders", backend=backend), Sagas("orders", backend=backend)

    @old.saga(name="order")
    async def before(run: SagaRun) -> None:
        await run.step("reserve", shop.reserve, "lamp")
        await run.step("charge", shop.charge, 900)
        await run.sleep("wait", 60)

    @new.saga(name="order")
    async def after(run: SagaRun) -> None:
        await run.step("reserve", shop.reserve, "lamp")
        if change == "another step":
            await run.step("ship", shop.ship)
        elif change == "another kind":
            await run.sleep("charge", 1)
        elif change == "the same name twice":
            await run.step("reserve", shop.reserve, "lamp")

    handle = await before.start()
    async with SagaWorker(old):
        await anyio.sleep(1)
    async with SagaWorker(new):
        await anyio.sleep(120)
    assert why in ((await handle.journal()).parked or "")
    assert shop.calls == ["reserve", "charge"]


async def test_a_saga_cannot_take_the_loss_of_its_run_for_a_failure(sagas: Sagas, shop: Shop) -> None:
    caught: list[Exception] = []

    async def taken_over() -> str:
        if not shop.calls:
            shop.calls.append("taken over")
            kind, data = encoded(StepDone("slow", "by the other worker"))
            await sagas.log.append("order-7", 2, (NewEvent(id="other", type=kind, data=data),))
        return "by this worker"

    @sagas.saga
    async def order(run: SagaRun) -> str:
        found = await run.step("slow", taken_over)
        try:
            await run.step("ship", shop.ship)
        except Exception as error:  # noqa: BLE001 - as careless sagas do
            caught.append(error)
        return found

    async with SagaWorker(sagas):
        handle = await order.options(id="order-7").start()
        assert await handle.result(timeout_s=60) == "by the other worker"
    assert (caught, shop.calls) == ([], ["taken over", "ship"])


async def test_who_starts_too_late_is_told_and_nothing_is_run(sagas: Sagas, shop: Shop, backend: MemoryBackend) -> None:
    place_order = declare(sagas, shop)
    inner = sagas.log.append

    async def late(stream, expected, events):  # type: ignore[no-untyped-def] # as it is called
        if events[0].type == "run-started":
            await anyio.sleep(60)
        return await inner(stream, expected, events)

    sagas.log.append = late  # type: ignore[method-assign]
    async with SagaWorker(sagas):
        with pytest.raises(SagaNotStarted, match="order-5"):
            await place_order.options(id="order-5").start("lamp", 900)
    assert shop.calls == []
    with pytest.raises(SagaNotStarted):
        await sagas.handle("order-5").result(timeout_s=1)


async def test_a_worker_that_is_quicker_than_a_start_waits_for_its_journal(sagas: Sagas, shop: Shop) -> None:
    place_order = declare(sagas, shop)
    trips: list[str] = []
    publish, append = sagas.queue.publish, sagas.log.append

    async def published(messages):  # type: ignore[no-untyped-def] # as it is called
        trips.append("publish")
        return await publish(messages)

    async def slow(stream, expected, events):  # type: ignore[no-untyped-def] # as it is called
        if events[0].type == "run-started":
            trips.append("append")
            await anyio.sleep(3)
        return await append(stream, expected, events)

    sagas.queue.publish, sagas.log.append = published, slow  # type: ignore[method-assign]
    async with SagaWorker(sagas):
        handle = await place_order.options(id="order-8").start("lamp", 900)
        assert trips == ["publish", "append"]
        with anyio.fail_after(4):
            await handle.result(timeout_s=60)
    assert shop.calls == ["reserve", "charge", "ship"]


async def test_a_start_that_is_repeated_starts_one_run(sagas: Sagas, shop: Shop) -> None:
    place_order = declare(sagas, shop)
    async with SagaWorker(sagas):
        first = await place_order.options(id="order-6").start("lamp", 900)
        second = await place_order.options(id="order-6").start("lamp", 900)
        assert first == second
        await first.result(timeout_s=5)
        await place_order.options(id="order-6").start("lamp", 900)
        await anyio.sleep(60)
    assert shop.calls == ["reserve", "charge", "ship"]


async def test_a_result_that_cannot_be_stored_parks_the_run(sagas: Sagas) -> None:
    async def make() -> object:
        return object()

    @sagas.saga
    async def order(run: SagaRun) -> None:
        await run.step("make", make)

    async with SagaWorker(sagas):
        handle = await order.start()
        await anyio.sleep(10)
    assert "step 'make' is done, and its result cannot be stored" in ((await handle.journal()).parked or "")


async def test_what_is_no_saga_is_refused(sagas: Sagas) -> None:
    with pytest.raises(TypeError, match="a saga is an async function"):
        sagas.saga(lambda run: None)  # type: ignore[arg-type, return-value]

    @sagas.saga
    async def order(run: SagaRun) -> None:
        """Nothing."""

    with pytest.raises(ValueError, match="version 1 of 'order'"):
        sagas.saga(name="order")(order.function)
    with pytest.raises(TypeError, match="too many positional arguments"):
        await order.start(7)  # type: ignore[call-arg]
    with pytest.raises(LookupError, match="step of a saga"):
        current_step()


async def test_a_wake_up_is_not_lost_while_the_one_before_it_is_being_settled(sagas: Sagas) -> None:
    @sagas.saga
    async def order(run: SagaRun) -> list[object]:
        return [await run.signal("one"), await run.signal("two")]

    handle = await order.start()
    [driver] = (await sagas.queue.claim(1, 8.0)).messages  # by a worker that has not read the signals
    await handle.signal("one", 1)
    [waker] = (await sagas.queue.claim(1, 8.0)).messages
    await handle.signal("two", 2)
    await sagas.queue.settle((Complete(waker), Requeue(driver, 86_400.0)))
    async with SagaWorker(sagas):
        assert await handle.result(timeout_s=60) == [1, 2]
