"""A look of the control room: one request to each service, and no book is read again that has not changed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, make_url

from shop.database import Database, Storage
from shop.problems import Problem
from shop.service_client import ServiceClient
from shop.stage.control import views
from shop.stage.control.audit import Audit
from shop.stage.control.views import Reading, View, changed_since, newer_than
from shop.stage.total_timeout import TotalTimeoutClient

from .visitor import Visitor

pytestmark = pytest.mark.anyio

COUNTS, QUEUES = "/internal/counts", "/internal/queues"
SCHEMA = MetaData()
ROWS = Table("rows", SCHEMA, Column("number", Integer, primary_key=True))
BUSY: dict[str, Any] = {"rate": 0.2, "fault": None, "calls": []}
ASKED_AT_MOST = 12


async def view(visitor: Visitor, **asked: Any) -> dict[str, Any]:
    address = visitor.settings.address("ordering")
    found: dict[str, Any] = (await visitor.http.get(f"{address}/internal/view", params=asked)).json()
    return found


async def test_a_service_answers_all_in_one_and_its_books_only_when_they_have_changed(shared: Visitor) -> None:
    asked = {"live": [QUEUES], "book": [COUNTS, "/internal/ledger?since_us=0&after="]}
    whole = await view(shared, **asked)
    assert whole["pulse"] == await shared.get(f"{shared.settings.address('ordering')}/internal/pulse")
    assert list(whole["books"]) == asked["book"]
    assert list(whole["live"]) == [QUEUES]
    again = await view(shared, **asked, unless=whole["version"])
    assert (again["books"], again["version"]) == (None, whole["version"])
    assert list(again["live"]) == [QUEUES]
    await shared.check_out_in_the_end(await shared.fill_cart())
    changed = await view(shared, **asked, unless=whole["version"])
    assert changed["version"] != whole["version"]
    assert changed["books"][COUNTS]["paid"]["orders"] == 1 + whole["books"][COUNTS].get("paid", {}).get("orders", 0)


async def test_only_what_may_be_watched_is_answered(shared: Visitor) -> None:
    refused = await view(shared, book=["/internal/recent-orders"])
    assert (refused["books"], refused["version"]) == (None, ""), "and it is asked again at the next look"
    assert refused["problem"]
    assert refused["pulse"]["service"] == "ordering"


class Requests:
    """What control asks of the services, and how often it looks."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.looks = 0
        self.asked: list[str] = []
        request, look = TotalTimeoutClient.request, Audit.look

        async def noted(client: TotalTimeoutClient, method: str, url: Any, **more: Any) -> httpx2.Response:
            self.asked.append(str(url))
            return await request(client, method, url, **more)

        async def counted(audit: Audit, **how: float) -> None:
            self.looks += 1
            await look(audit, **how)

        patch.setattr(TotalTimeoutClient, "request", noted)
        patch.setattr(Audit, "look", counted)

    def questions(self) -> list[dict[str, list[str]]]:
        """The questions of looks, without those of the reconciler, which names nothing."""
        return [parse_qs(urlsplit(url).query) for url in self.asked if "/internal/view?" in url and url[-1] != "?"]


async def test_a_look_asks_each_service_once_and_what_has_not_changed_is_not_read(
    shared: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shared.state()
    await shared.settled()
    await shared.state()
    requests = Requests(monkeypatch)
    await shared.state()
    questions = requests.questions()
    assert len(questions) <= ASKED_AT_MOST * requests.looks
    assert len([question for question in questions if "book" in question]) == 9 * requests.looks
    assert all(question["unless"] != [""] for question in questions if "book" in question)


async def test_two_who_look_at_once_share_a_look(shared: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    await shared.state()
    requests = Requests(monkeypatch)
    for _ in range(3):
        await shared.http.get("/control")  # takes a state of the last two seconds
    assert requests.looks <= 1


async def test_a_book_that_cannot_be_read_leaves_the_last_verdicts(
    shared: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_database: Database) -> str:
        raise Problem(503, "storage-unavailable", "Nothing can be read.")

    before = (await shared.state())["invariants"]
    with monkeypatch.context() as patched:
        patched.setattr(Database, "version", broken)
        state = await shared.state()
        assert {verdict.get("checked") for verdict in state["invariants"].values()} == {False}
        assert all(verdict["detail"].endswith("Nothing can be read.") for verdict in state["invariants"].values())
        assert all(service["live"] for service in state["services"]), "their pulses come all the same"
        assert (await shared.http.get("/control/api/invariants")).status_code == 503
    assert (await shared.state())["invariants"] == before


def seen(*pulses: Any) -> View:
    addresses = [f"http://shop:{number}" for number in range(len(pulses))]
    return View(0.0, addresses, [pulse and {"pulse": pulse} for pulse in pulses], 0)


def test_a_service_is_quiet_when_nothing_happens_in_any_replica() -> None:
    idle = {**BUSY, "rate": 0.0}
    assert seen(idle, idle).is_quiet
    assert not seen(idle, BUSY).is_quiet
    assert not seen(idle, None).is_quiet
    assert not seen({**idle, "fault": {"kind": "slow"}}).is_quiet
    assert not seen({**idle, "calls": [{"rate": 0.1}]}).is_quiet


class Service:
    """A service with a book of so many lines."""

    name = "book"

    def __init__(self, lines: int) -> None:
        self.lines = lines
        self.asked: list[str] = []

    async def ask(self, _method: str, path: str) -> dict[str, Any]:
        self.asked.append(path)
        after = int(path.rpartition("=")[2] or 0)
        last = min(self.lines, after + views.PAGE_MAX)
        return {"visits": [{"number": number} for number in range(after + 1, last + 1)]}


@pytest.mark.parametrize(("lines", "more"), [(0, 0), (9, 0), (10, 1), (25, 2)])
async def test_a_book_is_read_page_after_page(monkeypatch: pytest.MonkeyPatch, lines: int, more: int) -> None:
    monkeypatch.setattr(views, "PAGE_MAX", 10)
    service, reading = Service(lines), newer_than("/visits", 0)
    first = await service.ask("GET", reading.first)
    rows = await reading.to_the_end(cast("ServiceClient", service), first)
    assert [row["number"] for row in rows] == list(range(1, lines + 1))
    assert len(service.asked) == 1 + more


def test_a_ledger_is_read_from_an_instant_on() -> None:
    assert changed_since("/ledger", 7) == Reading("/ledger?since_us=7&after=", "", "orders", "order_id")


@asynccontextmanager
async def opened(storage: Storage) -> AsyncIterator[tuple[Database, Database]]:
    """A database twice, as two processes have it."""
    async with Database.opened(storage, SCHEMA) as one, Database.opened(storage, SCHEMA) as another:
        yield one, another


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_a_version_changes_with_each_commit_of_any_process_and_with_nothing_else(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    storages: dict[str, Callable[[], Storage]] = {
        "sqlite": lambda: tmp_path / "a.db",
        "postgres": lambda: str(
            make_url(request.getfixturevalue("postgres_url"))
            .set(drivername="postgresql+asyncpg")
            .render_as_string(hide_password=False)
        ),
    }
    async with opened(storages[backend]()) as (one, another):
        versions = [await one.version()]
        for number, writer in enumerate((one, another)):
            async with writer.write() as connection:
                await connection.execute(insert(ROWS).values(number=number))
                assert await one.version() != "", "while a writer is at work, too"
            versions.append(await one.version())
        assert len(set(versions)) == 3
        if backend == "sqlite":  # on Postgres the server's other databases change it as well
            assert await one.version() == versions[-1]
            await undone(another)
            assert await one.version() == versions[-1]


async def undone(database: Database) -> None:
    """A write that is rolled back."""
    with contextlib.suppress(ZeroDivisionError):
        async with database.write() as connection:
            await connection.execute(insert(ROWS).values(number=9))
            raise ZeroDivisionError
