"""The answer and the caller's rows become durable together, or neither does. Real databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from sdpatterns import Idempotency
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.coordination.idempotency import Claim, current_claim
from sdpatterns.errors import ClaimLost
from tests.backends.everywhere import unique

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Ledger:
    """A table of the caller's own beside the cells."""

    def __init__(self, url: str) -> None:
        self.backend = SQLBackend.from_url(url)
        self.engine = create_async_engine(url)
        self.table = unique("ledger").replace("-", "_")

    async def open(self) -> None:
        await self.backend.create()
        async with self.engine.begin() as connection:
            await connection.execute(text(f"create table {self.table} (entry text)"))

    async def enter(self, entry: str, claim: Claim) -> None:
        """One row and one answer in one transaction."""
        async with AsyncSession(self.engine) as session, session.begin():
            await session.execute(text(f"insert into {self.table} values (:entry)"), {"entry": entry})
            await claim.store(entry, within=self.backend.within(session))

    async def entries(self) -> list[str]:
        async with self.engine.connect() as connection:
            return [row[0] for row in await connection.execute(text(f"select entry from {self.table}"))]

    async def close(self) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(text(f"drop table {self.table}"))
        await self.engine.dispose()
        async with self.backend:
            pass


@pytest.fixture(params=["sqlite", "postgres"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url").replace("postgresql://", "postgresql+asyncpg://")
    found = Ledger(url)
    await found.open()
    yield found
    await found.close()


def paying(ledger: Ledger, idem: Idempotency, *, fails: bool = False) -> Any:
    @idem.by(lambda order: order).protect
    async def pay(order: str) -> dict[str, str]:
        answer = {"paid": order}
        async with AsyncSession(ledger.engine) as session, session.begin():
            await session.execute(text(f"insert into {ledger.table} values (:entry)"), {"entry": order})
            await current_claim().store(answer, within=ledger.backend.within(session))
            if fails:
                raise OSError("the database said no")
        return answer

    return pay


async def test_the_answer_commits_with_the_rows(ledger: Ledger) -> None:
    idem = Idempotency(unique("till"), store=ledger.backend.states)
    pay = paying(ledger, idem)
    assert [await pay("o1") for _ in range(3)] == [{"paid": "o1"}] * 3
    assert await ledger.entries() == ["o1"]


async def test_a_rollback_takes_the_answer_along_and_frees_the_key(ledger: Ledger) -> None:
    idem = Idempotency(unique("till"), store=ledger.backend.states)
    with pytest.raises(OSError, match="said no"):
        await paying(ledger, idem, fails=True)("o1")
    assert await ledger.entries() == []
    assert await paying(ledger, idem)("o1") == {"paid": "o1"}
    assert await ledger.entries() == ["o1"]


async def test_a_late_owner_cannot_commit_his_rows(ledger: Ledger) -> None:
    idem = Idempotency(unique("till"), store=ledger.backend.states, lease_s=30.0)
    first = await idem.claim("k")
    assert isinstance(first, Claim)
    ledger.backend.shift(31.0)
    second = await idem.claim("k")
    assert isinstance(second, Claim)
    with pytest.raises(ClaimLost):
        await ledger.enter("late", first)
    assert await ledger.entries() == []
    await ledger.enter("second", second)
    assert await ledger.entries() == ["second"]


async def test_those_who_wait_hear_of_the_commit(ledger: Ledger) -> None:
    idem = Idempotency(unique("till"), store=ledger.backend.states, on_busy="wait", signals=ledger.backend.signals)
    pay = paying(ledger, idem)
    assert await asyncio.gather(*(pay("o1") for _ in range(10))) == [{"paid": "o1"}] * 10
    assert await ledger.entries() == ["o1"]


async def test_an_answer_that_cannot_be_kept_undoes_the_transaction_and_frees_the_key(ledger: Ledger) -> None:
    idem = Idempotency(unique("till"), store=ledger.backend.states, fingerprint=lambda *_: "")

    async def work(entry: str, answer: object) -> str:
        async with AsyncSession(ledger.engine) as session, session.begin():
            await session.execute(text(f"insert into {ledger.table} values (:entry)"), {"entry": entry})
            await current_claim().store(answer, within=ledger.backend.within(session))
        return entry

    with pytest.raises(TypeError, match="cannot be stored"):
        await idem.call("k", work, "lost", object())
    assert await idem.call("k", work, "kept", "kept") == "kept"
    assert await ledger.entries() == ["kept"]
