"""An append whose connection dies around it, on a real Postgres behind a wire that can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.errors import OutcomeUnknown, VersionConflict
from sdpatterns.ports.log import ANY, EventLog, NewEvent
from tests.backends.everywhere import unique
from tests.backends.sqlalchemy.proxy import Cut, Proxy

pytestmark = pytest.mark.anyio


def events(*names: str) -> list[NewEvent]:
    return [NewEvent(id=name, type="noted", data=b"") for name in names]


@pytest.fixture
async def log(proxy: Proxy) -> AsyncIterator[EventLog]:
    """A log whose connection has prepared the statement."""
    async with SQLBackend(proxy.url("asyncpg"), timeout_s=5.0) as backend:
        await backend.create()
        # The connection that notifies is made now, so that no cut can hit it while it is made.
        await backend.signals.notify(unique("lost"))
        log = backend.log(unique("lost"))
        for version in range(2):
            await log.append("warm", version, events(f"{version}"))
        yield log


@pytest.mark.parametrize("where", ["before", "after"])
async def test_an_append_with_a_version_whose_reply_is_lost_is_made_once(
    log: EventLog, proxy: Proxy, where: Cut
) -> None:
    proxy.cut(where)
    at = await log.append("a", 0, events("1", "2"))
    assert proxy.cuts == 1
    page = await log.read("a")
    assert [(each.id, each.version) for each in page.events] == [("1", 1), ("2", 2)]
    assert at == page.events[-1][1:3]
    assert len((await log.read_all()).events) == 4


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_conflict_whose_reply_is_lost_stays_one(log: EventLog, proxy: Proxy, where: Cut) -> None:
    proxy.cut(where)
    with pytest.raises(VersionConflict):
        await log.append("warm", 1, events("other"))
    assert proxy.cuts == 1
    assert (await log.read("warm")).version == 2


@pytest.mark.parametrize(("where", "happened"), [("before", 0), ("after", 1)])
async def test_an_append_of_any_version_whose_reply_is_lost_is_not_repeated(
    log: EventLog, proxy: Proxy, where: Cut, happened: int
) -> None:
    proxy.cut(where)
    with pytest.raises(OutcomeUnknown, match="lost"):
        await log.append("a", ANY, events("1"))
    assert proxy.cuts == 1
    assert (await log.read("a")).version == happened
