"""Holders that are stopped (SIGSTOP) for longer than their lease, on Valkey and on Postgres, with a row on Postgres.

The same run with a lock that gives no fence shows what the fence is for: there each stop loses what others wrote.

    pytest tests/crash/test_stopped_holders.py -m "" -s

The long runs note their figures in `benchmarks/results/stopped_holders.json`, which `docs/patterns/lease.md` shows.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.blocking import blocking
from tests.crash.holder import ACCOUNTS, ROW
from tests.crash.processes import Speaker, noted, report

pytestmark = [pytest.mark.unmeasured]

PATIENCE_S = 240.0
OTHERS = 2


class Worker(Speaker):
    """A process with a holder in it."""

    def __init__(self, kind: str, redis_url: str, postgres_url: str, stops: int) -> None:
        super().__init__("holder", kind, redis_url, postgres_url, str(stops))

    def resume(self) -> None:
        """Let a stopped one go on."""
        os.kill(self.process.pid, signal.SIGCONT)

    def is_stopped(self) -> bool:
        """Whether the system says that it is."""
        return psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED


@contextlib.contextmanager
def working(kind: str, redis_url: str, postgres_url: str, stops: int) -> Iterator[tuple[Worker, list[Worker]]]:
    """One that stops, and others that do not."""
    workers = [Worker(kind, redis_url, postgres_url, each) for each in (stops, *[0] * OTHERS)]
    try:
        yield workers[0], workers[1:]
    finally:
        for worker in workers:
            worker.close()


def until(what: Any, worker: Worker) -> bool:
    """Wait for it; False where the worker ended before."""
    limit = time.monotonic() + PATIENCE_S
    while not what():
        if worker.process.poll() is not None:
            return False
        assert time.monotonic() < limit, "it hangs"
        time.sleep(0.01)
    return True


def stopped_again_and_again(kind: str, redis_url: str, postgres_url: str, stops: int) -> tuple[int, Counter[str]]:
    """So many stops, each for as long as two others need to hold the lock; the balance and all that was said."""
    url = postgres_url.replace("://", "+psycopg://")
    engine = sa.create_engine(url)
    with blocking(SQLBackend(engine)) as door:
        door.create()
    ACCOUNTS.drop(engine, checkfirst=True)
    ACCOUNTS.create(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(ACCOUNTS).values(id=1, balance=0, fence=0))
    with working(kind, redis_url, url, stops) as (victim, others):
        for number in range(1, stops + 1):
            if not until(lambda number=number: victim.said["stopping"] == number and victim.is_stopped(), victim):
                break
            before = sum(other.said["ack"] for other in others)
            until(lambda before=before: sum(other.said["ack"] for other in others) >= before + 2, victim)
            victim.resume()
        for worker in (victim, *others):
            worker.end()
        assert victim.said["stopping"] == stops
        said: Counter[str] = sum((worker.said for worker in (victim, *others)), Counter())
    with engine.begin() as connection:
        balance: int = connection.execute(sa.select(ACCOUNTS.c.balance).where(ROW)).scalar_one()
    engine.dispose()
    return balance, said


def many_stops(few: int) -> Any:
    """Some in each run, 500 in a long one."""
    long = pytest.param(500, marks=[pytest.mark.long, pytest.mark.timeout(7200)])
    return pytest.mark.parametrize("stops", [few, long])


@pytest.mark.parametrize("lock", ["on valkey", pytest.param("on postgres", marks=pytest.mark.nightly)])
@many_stops(2)
def test_no_acknowledged_update_is_lost_on_a_fenced_row(
    stops: int, lock: str, valkey_url: str, postgres_url: str
) -> None:
    kind = lock.removeprefix("on ")
    balance, said = stopped_again_and_again(kind, valkey_url, postgres_url, stops)
    told(kind, stops, said, balance)
    assert balance == said["ack"]
    assert said["refused"] >= stops, "each stopped holder wrote too late, and was refused"


@pytest.mark.nightly
@many_stops(1)
def test_a_lock_without_a_fence_loses_updates(stops: int, valkey_url: str, postgres_url: str) -> None:
    balance, said = stopped_again_and_again("redis-py", valkey_url, postgres_url, stops)
    told("redis-py", stops, said, balance)
    assert said["ack"] - balance >= stops


def told(kind: str, stops: int, said: Counter[str], balance: int) -> None:
    """Print the figures, and keep those of a long run."""
    figures = {
        "stops": said["stopping"],
        "acknowledged": said["ack"],
        "lost": said["ack"] - balance,
        "refused": said["refused"],
    }
    report(f"{kind}: {figures}, {dict(said)}")
    if stops == 500:
        noted("stopped_holders", 'pytest tests/crash/test_stopped_holders.py -m ""', "locks", kind, figures)
