"""Run jobs in a test without a worker beside it.

```python
import asyncio
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.messaging.jobs import Jobs
from sdpatterns.testing.jobs import inline

jobs = Jobs("mail", backend=MemoryBackend())
sent = []

@jobs.job
async def send(to: str) -> None:
    sent.append(to)

async def test() -> None:
    async with inline(jobs):
        await send.enqueue("Ada")      # it has run when this returns
        assert sent == ["Ada"]

asyncio.run(test())
```
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar
from typing import Any, cast

from sdpatterns.messaging.jobs import Jobs, Worker
from sdpatterns.ports.queue import Message, MessageQueue

__all__ = ["inline"]

_RUNNING: ContextVar[frozenset[str]] = ContextVar("sdpatterns_inline", default=frozenset())


@contextlib.asynccontextmanager
async def inline(jobs: Jobs) -> AsyncIterator[Worker]:
    """Within the block, `enqueue` and `publish` run all jobs that are due before they return.

    Jobs that these jobs enqueue run before that, too. A job that fails is tried again later or parked, as by any
    worker: move the clock and call `run_due` of the worker that the block gives. What is enqueued in a transaction of
    the caller's is run by the next call.
    """
    queue, worker = jobs.queue, Worker(jobs)
    jobs.queue = cast("MessageQueue", _InlineQueue(queue, worker))
    try:
        yield worker
    finally:
        jobs.queue = queue


class _InlineQueue:
    """A queue whose messages are worked on before `publish` returns."""

    def __init__(self, queue: MessageQueue, worker: Worker) -> None:
        self._queue = queue
        self._worker = worker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def publish(self, messages: Sequence[Message], /) -> Sequence[bool]:
        answers = await self._queue.publish(messages)
        running = _RUNNING.get()
        # Within one of these jobs the call that began them goes on until nothing is due.
        if self._worker.name not in running:
            token = _RUNNING.set(running | {self._worker.name})
            try:
                await self._worker.run_due()
            finally:
                _RUNNING.reset(token)
        return answers
