"""Sagas as tables: the same promises, for steps that are data."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from pathlib import Path

import anyio
import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.errors import ReplayFailed, SagaUndone
from sdpatterns.messaging.saga import Saga, SagaRun, Sagas, SagaTable, SagaWorker, TableStep, current_step
from tests.loops import each_virtual_loop

anyio_backend = each_virtual_loop
pytestmark = pytest.mark.anyio


class Declined(Exception):
    """The card is not good."""


@dataclasses.dataclass(frozen=True)
class Order:
    article: str
    price: Decimal
    reservation: str = ""
    paid: Decimal = Decimal(0)


class Shop:
    def __init__(self) -> None:
        self.calls: list[str] = []

    async def reserve(self, order: Order) -> Order:
        self.calls.append(current_step().idempotency_key)
        return dataclasses.replace(order, reservation=f"r-{order.article}")

    async def release(self, order: Order) -> None:
        self.calls.append(f"release {order.reservation}")

    async def charge(self, order: Order) -> Order:
        if order.price > 100:
            raise Declined("too much")
        return dataclasses.replace(order, paid=order.price)

    def refund(self, order: Order) -> None:
        self.calls.append(f"refund {order.paid}")

    async def ship(self, order: Order) -> Order:
        self.calls.append(f"ship {order.reservation}")
        return order

    def table(self) -> SagaTable[Order]:
        return SagaTable("place_order", Order, [
            TableStep("reserve", self.reserve, undo=self.release),
            TableStep("charge", self.charge, is_pivot=True),
            TableStep("ship", self.ship),
        ])  # fmt: skip


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def sagas() -> Sagas:
    return Sagas("orders", backend=MemoryBackend())


def declare(sagas: Sagas, table: SagaTable[Order]) -> Saga[[Order], Order]:
    return sagas.saga(give_up_on=(Declined,))(table)


async def test_each_step_gets_what_the_one_before_returned(sagas: Sagas, shop: Shop) -> None:
    place_order = declare(sagas, shop.table())
    async with SagaWorker(sagas):
        handle = await place_order.options(id="1").start(Order("lamp", Decimal("9.50")))
        expected = Order("lamp", Decimal("9.50"), "r-lamp", Decimal("9.50"))
        assert await handle.result(5) == expected
        assert await sagas.handle("1").result(5) == expected
    assert shop.calls == ["orders/1/reserve", "ship r-lamp"]


async def test_an_undo_gets_what_its_step_returned(sagas: Sagas, shop: Shop) -> None:
    place_order = declare(sagas, shop.table())
    async with SagaWorker(sagas):
        handle = await place_order.options(id="1").start(Order("lamp", Decimal(900)))
        with pytest.raises(SagaUndone) as caught:
            await handle.result(5)
    assert isinstance(caught.value.__cause__, Declined)
    assert shop.calls == ["orders/1/reserve", "release r-lamp"]


async def test_a_table_is_a_child_like_any_other_saga(sagas: Sagas, shop: Shop) -> None:
    table = SagaTable("charge", Order, [TableStep("charge", shop.charge, undo=shop.refund)])
    charge = declare(sagas, table)

    @sagas.saga(give_up_on=(SagaUndone,))
    async def parent(run: SagaRun) -> str:
        order = await run.child("part", charge, Order("lamp", Decimal(5)), undo=shop.refund)
        await run.child("much", charge, Order("sofa", Decimal(500)))
        return str(order.paid)

    async with SagaWorker(sagas):
        handle = await parent.start()
        with pytest.raises(SagaUndone):
            await handle.result(60)
    assert shop.calls == ["refund 5"]


async def test_a_step_that_returns_something_else_parks_the_run(sagas: Sagas, shop: Shop) -> None:
    async def forgets(order: Order) -> Order:
        return None  # type: ignore[return-value]

    handle = await declare(sagas, SagaTable("forgets", Order, [TableStep("a", forgets)])).start(
        Order("lamp", Decimal(1))
    )
    async with SagaWorker(sagas):
        await anyio.sleep(5)
    assert (await handle.journal()).parked == "step 'a' is done, and returned NoneType in place of Order"


async def test_a_state_that_no_longer_fits_is_found_by_a_replay(sagas: Sagas, shop: Shop, tmp_path: Path) -> None:
    place_order = declare(sagas, shop.table())
    async with SagaWorker(sagas):
        await (await place_order.options(id="1").start(Order("lamp", Decimal(9)))).result(5)
    await sagas.record("1", to=tmp_path)
    assert len(await sagas.replay(tmp_path)) == 1

    @dataclasses.dataclass(frozen=True)
    class Renamed:
        goods: str

    async def reserve(order: Renamed) -> Renamed:
        return order

    later = Sagas("orders", backend=MemoryBackend())
    later.saga(SagaTable("place_order", Renamed, [TableStep("reserve", reserve)]))
    with pytest.raises(ReplayFailed, match=r"the stored state does not fit .*Renamed: "):
        await later.replay(tmp_path)


async def test_a_start_with_another_class_is_refused(sagas: Sagas, shop: Shop) -> None:
    place_order = declare(sagas, shop.table())
    with pytest.raises(TypeError, match="'place_order' works on Order, got str"):
        await place_order.start("lamp")  # type: ignore[arg-type]


def test_it_is_drawn_from_its_definition(shop: Shop) -> None:
    assert shop.table().diagram() == [
        "flowchart LR", '  start(["place_order"])',
        '  s0["reserve"]', "  start --> s0", '  s0 -. undo .-> u0["release"]',
        '  s1[["charge"]]', "  s0 --> s1", '  s2["ship"]', "  s1 --> s2",
        '  end1(["completed"])', "  s2 --> end1",
    ]  # fmt: skip


def test_what_makes_no_table_is_refused(shop: Shop) -> None:
    step, pivot = TableStep("a", shop.ship, undo=shop.release), TableStep("p", shop.ship, is_pivot=True)
    for steps, told in [
        ([], "has no steps"),
        ([step, step], "two steps of SagaTable 't' are called 'a'"),
        ([pivot, step], "step 'a' is behind the pivot 'p'"),
    ]:
        with pytest.raises(ValueError, match=told):
            SagaTable("t", Order, steps)
    with pytest.raises(ValueError, match="is the pivot, which is never undone"):
        TableStep("p", shop.ship, undo=shop.release, is_pivot=True)
    with pytest.raises(TypeError, match="needs an async function"):
        TableStep("r", shop.refund)  # type: ignore[arg-type]
