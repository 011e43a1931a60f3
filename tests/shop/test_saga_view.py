"""The sagas of a service as the control room sees them: how many are under way, and the way of one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.errors import SagaUndone
from sdpatterns.messaging.saga import SagaRun, Sagas, SagaWorker
from shop.problems import Problem, answer
from shop.stage.saga_view import RunBook, saga_view, said

from .visitor import PATIENCE_S, Visitor

pytestmark = pytest.mark.anyio

SERVICES = {"reserve": "inventory", "charge": "payments"}


class Declined(Exception):
    """The card was declined."""


class Trips:
    """Trips to Rome, whose charges fail as often as a test likes."""

    def __init__(self) -> None:
        self.sagas = Sagas("trips", backend=MemoryBackend())
        self.fails = 0
        self.refuses = False
        declare = self.sagas.saga(give_up_on=(Declined,), attempts_max=2, base_s=0.01, max_s=0.01)
        self.book = declare(self._book)

    async def _book(self, run: SagaRun, place: str) -> None:
        await run.step("reserve", self._reserve, place, undo=self._release)
        await run.step("charge", self._charge)

    async def _reserve(self, place: str) -> str:
        return place

    async def _release(self, _place: str) -> None:
        return None

    async def _charge(self) -> None:
        if self.refuses:
            raise Declined
        if self.fails:
            self.fails -= 1
            raise ConnectionError("the provider is silent")


@pytest.fixture
async def trips() -> AsyncIterator[Trips]:
    found = Trips()
    async with SagaWorker(found.sagas):
        yield found


@pytest.fixture
async def http(trips: Trips) -> AsyncIterator[httpx.AsyncClient]:
    def told(request: Request, error: Exception) -> Response:
        return answer(request, error)

    app = Starlette(routes=saga_view(trips.sagas, SERVICES), exception_handlers={Problem: told})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ordering") as client:
        yield client


async def get(http: httpx.AsyncClient, path: str) -> dict[str, Any]:
    response = await http.get(path)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def run_to_end(trips: Trips, run_id: str) -> None:
    run = await trips.book.options(id=run_id).start("Rome")
    await run.result(timeout_s=PATIENCE_S)


async def test_a_run_shows_its_steps_with_service_and_time(trips: Trips, http: httpx.AsyncClient) -> None:
    await run_to_end(trips, "t-1")
    run = await get(http, "/internal/sagas/t-1")
    assert (run["saga"], run["status"]) == ("_book", "completed")
    assert [(step["step"], step["service"], step["said"]) for step in run["steps"]] == [
        ("reserve", "inventory", '"Rome"'),
        ("charge", "payments", ""),
    ]
    for step in run["steps"]:
        (attempt,) = step["attempts"]
        assert run["began_us"] <= attempt["from_us"] <= attempt["to_us"] <= run["last_us"]
        assert attempt["is"] == "done"
    assert (await get(http, "/internal/sagas"))["counts"] == {"completed": 1}


async def test_an_attempt_that_failed_is_beside_the_next_one(trips: Trips, http: httpx.AsyncClient) -> None:
    trips.fails = 1
    await run_to_end(trips, "t-1")
    charge = (await get(http, "/internal/sagas/t-1"))["steps"][1]
    assert [attempt["is"] for attempt in charge["attempts"]] == ["failed", "done"]
    assert "the provider is silent" in charge["attempts"][0]["reason"]


async def test_a_run_that_is_undone_shows_the_undo_of_each_step(trips: Trips, http: httpx.AsyncClient) -> None:
    trips.refuses = True
    with pytest.raises(SagaUndone):
        await run_to_end(trips, "t-1")
    run = await get(http, "/internal/sagas/t-1")
    reserve, charge = run["steps"]
    assert run["status"] == "undone"
    assert (charge["attempts"][-1]["is"], charge["undo"]) == ("refused", None)
    (undo,) = reserve["undo"]
    assert undo["is"] == "done"
    assert charge["attempts"][-1]["to_us"] <= undo["from_us"] <= undo["to_us"]


async def test_a_run_that_waits_for_a_person_is_listed_and_goes_on(trips: Trips, http: httpx.AsyncClient) -> None:
    trips.fails = 2
    run = await trips.book.options(id="t-1").start("Rome")
    async with asyncio.timeout(PATIENCE_S):
        while not (parked := (await get(http, "/internal/sagas"))["parked"]):  # noqa: ASYNC110 - seen from outside
            await asyncio.sleep(0.02)
    assert [row["run_id"] for row in parked] == ["t-1"]
    assert "the provider is silent" in parked[0]["reason"]
    assert (await http.post("/internal/sagas/t-1/resume")).json() == {"resumed": True}
    await run.result(timeout_s=PATIENCE_S)
    assert (await http.post("/internal/sagas/t-1/resume")).json() == {"resumed": False}
    found = await get(http, "/internal/sagas")
    assert (found["parked"], found["counts"]) == ([], {"completed": 1})


async def test_what_is_not_there_is_a_problem(http: httpx.AsyncClient) -> None:
    assert (await http.get("/internal/sagas/none")).status_code == 404
    assert (await http.post("/internal/sagas/none/resume")).status_code == 404


async def test_the_book_reads_on_and_keeps_the_newest_runs(trips: Trips) -> None:
    book = RunBook(trips.sagas)
    assert await book.view() == {"counts": {}, "parked": [], "newest": []}
    for number in range(15):
        await run_to_end(trips, f"t-{number}")
        await book.view()
    found = await book.view()
    assert found["counts"] == {"completed": 15}
    assert [row["run_id"] for row in found["newest"]] == [f"t-{number}" for number in range(14, 2, -1)]
    assert not book._open, "of runs that have ended it keeps no journal"


def test_what_a_step_returned_is_told_in_a_few_words() -> None:
    assert said({"slug": "card-declined", "detail": "The card was declined."}) == "The card was declined."
    assert said({}) == said(None) == ""
    assert said({"pieces": 3}) == '{"pieces": 3}'


async def test_the_way_of_an_order_and_what_was_true_of_it(shared: Visitor) -> None:
    bought = await shared.check_out_in_the_end(await shared.fill_cart())
    order_id = bought.json()["order_id"]
    way = await shared.get(f"/control/api/orders/{order_id}")
    (run,) = way["runs"]
    assert [step["service"] for step in run["steps"]] == ["cart", "inventory", "payments", "inventory"]
    assert [row["then"]["status"] for row in way["history"]] == ["pending", "paid"]
    assert all(row["then"]["lines"] for row in way["history"])
    assert "client_key" not in way["history"][0]["then"], "it is the customer's"
    state = await shared.state()
    assert state["sagas"]["counts"]["completed"] >= 1
    assert state["projections"]["orders"]["behind"] == 0
    assert (await shared.http.get("/control/api/orders/none")).status_code == 404
    assert (await shared.http.post(f"/control/api/sagas/{order_id}/resume")).json() == {"resumed": False}
