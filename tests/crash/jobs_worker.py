"""A worker of jobs in a process of its own, which a test kills.

    python -m tests.crash.jobs_worker NAME QUEUE-URL EFFECTS-URL SETTINGS

It says `ready`, and `began NUMBER` for each job that begins. A job takes the seconds that it is given; then it adds a
row to `effects`, behind an inbox. `SETTINGS` are those of the worker, as JSON. It works until its standard input is
closed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.messaging.inbox import Inbox
from sdpatterns.messaging.jobs import Jobs, Worker, current_job
from tests.crash.processes import say

EFFECTS = sa.Table(
    "effects",
    sa.MetaData(),
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
)


class App:
    """What producer and worker share: the jobs, and the database in which their effects are counted."""

    def __init__(self, name: str, queue_url: str, effects_url: str) -> None:
        self.name = name
        self.backend: Any = (
            RedisBackend.from_url(queue_url) if queue_url.startswith("redis:") else SQLBackend.from_url(queue_url)
        )
        self.engine = create_async_engine(effects_url, pool_pre_ping=True)
        self.effects = SQLBackend(self.engine)
        self.jobs = Jobs(name, backend=self.backend)
        self.inbox = Inbox("effects")
        self.begun: list[int] = []
        # Each failure of a database that is being restarted counts as an attempt.
        self.add = self.jobs.job(name="add", attempts_max=1000, base_s=0.05, max_s=1.0)(self._add)

    async def _add(self, number: int, seconds: float = 0.0) -> None:
        self.begun.append(number)
        say(f"began {number}")
        await asyncio.sleep(seconds)
        async with AsyncSession(self.engine) as session, session.begin():
            if await self.inbox.is_new(f"{self.name} {current_job().id}", within=self.effects.within(session)):
                await session.execute(sa.insert(EFFECTS).values(name=self.name, number=number))

    async def create(self) -> None:
        """Make the tables."""
        await self.effects.create()
        if isinstance(self.backend, SQLBackend):
            await self.backend.create()
        async with self.engine.begin() as connection:
            await connection.run_sync(EFFECTS.create, checkfirst=True)

    async def done(self) -> list[int]:
        """The numbers of all jobs that had their effect, one for each effect."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(sa.select(EFFECTS.c.number).where(EFFECTS.c.name == self.name))
            return [row.number for row in rows]

    async def close(self) -> None:
        """Close all connections."""
        await self.backend.__aexit__(None, None, None)
        await self.effects.__aexit__(None, None, None)
        await self.engine.dispose()


async def main(name: str, queue_url: str, effects_url: str, settings: str) -> None:
    """Work until the end."""
    app = App(name, queue_url, effects_url)
    async with Worker(app.jobs, **json.loads(settings)):
        say("ready")
        await asyncio.to_thread(sys.stdin.read)
    await app.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
