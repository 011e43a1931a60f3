"""A worker in a process of its own: it adds 1 to a row, again and again, each time under a lock.

    python -m tests.crash.holder valkey|postgres|redis-py redis-url postgres-url stops

The lock is our lease on Valkey or on Postgres, or the lock of redis-py.

It says `ack` for each update that the database has acknowledged, and `refused` for each that came too late. With
`stops` above 0 it stops itself so many times between reading and writing, says `stopping` before it does, and ends
after the last one. With 0 it works until its standard input is closed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import redis
import redis.exceptions
import sqlalchemy as sa

from sdpatterns import Lease
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.backends.sqlalchemy.fenced import FencedRows
from sdpatterns.blocking import blocking
from sdpatterns.errors import BackendError, LeaseLost, StaleFence
from tests.crash.processes import say

LEASE_S = 0.5
ACCOUNTS = sa.Table(
    "accounts",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("balance", sa.Integer, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False, default=0),
)
ROW = ACCOUNTS.c.id == 1
Pause = Callable[[], None]


def stop() -> None:
    """Stop as a machine that is suspended does: in the middle, and without notice."""
    say("stopping")
    os.kill(os.getpid(), signal.SIGSTOP)


def on_valkey(redis_url: str, engine: sa.Engine) -> Callable[[Pause], None]:
    """Our lease on Valkey."""
    return with_a_fence(RedisBackend.from_url(redis_url, blocking=True, timeout_s=60.0), engine)


def on_postgres(_: str, engine: sa.Engine) -> Callable[[Pause], None]:
    """Our lease on Postgres."""
    return with_a_fence(SQLBackend(engine, timeout_s=60.0), engine)


def with_a_fence(backend: RedisBackend | SQLBackend, engine: sa.Engine) -> Callable[[Pause], None]:
    """Our lease, and a row that knows the largest fence."""
    lease = blocking(Lease("account", store=backend.states, signals=backend.signals, lease_s=LEASE_S))
    rows = FencedRows(ACCOUNTS)

    def update(pause: Pause) -> None:
        """Read in one transaction and write in another, as a program does that works for long between the two."""
        try:
            with lease.guard("1") as held:
                with engine.begin() as connection:
                    balance = rows.read_now(connection, held.fence, ROW).balance
                pause()
                with engine.begin() as connection:
                    rows.write_now(connection, held.fence, ROW, balance=balance + 1)
                say("ack")
        except StaleFence:
            say("refused")
        except (LeaseLost, BackendError):
            say("late")

    return update


def with_a_lock_alone(redis_url: str, engine: sa.Engine) -> Callable[[Pause], None]:
    """The lock of redis-py, which gives no fence."""
    client = redis.Redis.from_url(redis_url)

    def update(pause: Pause) -> None:
        """The same."""
        lock = client.lock("account-1", timeout=LEASE_S)
        lock.acquire()
        with engine.begin() as connection:
            balance = connection.execute(sa.select(ACCOUNTS.c.balance).where(ROW)).scalar_one()
        pause()
        with engine.begin() as connection:
            connection.execute(sa.update(ACCOUNTS).where(ROW).values(balance=balance + 1))
        say("ack")
        try:
            lock.release()
        except redis.exceptions.LockError:
            say("late")

    return update


KINDS: dict[str, Callable[[str, sa.Engine], Callable[[Pause], None]]] = {
    "valkey": on_valkey,
    "postgres": on_postgres,
    "redis-py": with_a_lock_alone,
}


def stop_so_often(update: Callable[[Pause], None], stops: int) -> None:
    """Update until it has stopped so often: on a busy machine a holder may be late before it comes to its stop."""
    stopped = 0

    def pause() -> None:
        nonlocal stopped
        stopped += 1
        stop()

    while stopped < stops:
        update(pause)


def main(kind: str, redis_url: str, postgres_url: str, stops: str) -> None:
    """Work until the end."""
    engine: Any = sa.create_engine(postgres_url)
    update, is_over = KINDS[kind](redis_url, engine), threading.Event()
    if int(stops):
        stop_so_often(update, int(stops))
        return

    def listen() -> None:
        """End with the parent."""
        sys.stdin.read()
        is_over.set()

    threading.Thread(target=listen, daemon=True).start()
    while not is_over.is_set():
        update(lambda: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
