"""The answers that clients saw, gathered from every gateway: once for the judge, and for every open page."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import count
from typing import Any, NamedTuple

from shop.stage.control.history import History
from shop.stage.control.replicas import Replicas

_KEPT_MAX = 2_000
_UNJUDGED_MAX = 50_000


class Answer(NamedTuple):
    """One answer, as a gateway noted it."""

    arrived_us: int
    answered_us: int
    kind: str
    status: int
    trace_id: str
    client: str

    def dot(self) -> dict[str, Any]:
        """The answer as the map shows it."""
        took_ms = round((self.answered_us - self.arrived_us) / 1000, 1)
        return {
            "at_ms": self.answered_us // 1000,
            "kind": self.kind,
            "status": self.status,
            "ms": took_ms,
            "trace_id": self.trace_id,
            "client": self.client,
        }


class Feed:
    """Reads on where it stopped, however many ask at once.

    Keeps: each answer is given to the judge once; a watcher gets those that came after it began to watch,
    and not more than `_KEPT_MAX` at once.
    """

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self.history = History()
        self._lock = asyncio.Lock()
        self._read: dict[str, int] = {}
        self._unjudged: deque[Answer] = deque(maxlen=_UNJUDGED_MAX)
        self._kept: deque[tuple[int, Answer]] = deque(maxlen=_KEPT_MAX)
        self._numbers = count(1)
        self._newest = 0

    async def pull(self) -> None:
        """Read what the gateways have answered since the last time."""
        async with self._lock:
            for address in self._replicas.addresses("gateway"):
                await self._pull(address)

    async def pull_unless_pulling(self) -> None:
        """Read on, but do not wait where another call is reading already."""
        if not self._lock.locked():
            await self.pull()

    async def _pull(self, address: str) -> None:
        while rows := await self._page(address):
            self._read[address] = rows[-1]["number"]
            for row in rows:
                self._take(Answer(*(row[name] for name in Answer._fields)))

    async def _page(self, address: str) -> list[dict[str, Any]]:
        page = await self._replicas.ask(address, "GET", f"/internal/answers?after={self._read.get(address, 0)}")
        return [] if page is None else list(page["answers"])

    def _take(self, answer: Answer) -> None:
        self._newest = next(self._numbers)
        self._kept.append((self._newest, answer))
        self._unjudged.append(answer)
        self.history.take(answer.kind, answer.status, answer.arrived_us, answer.answered_us)

    def judged(self) -> list[Answer]:
        """What the judge has not seen yet."""
        answers = list(self._unjudged)
        self._unjudged.clear()
        return answers

    @property
    def newest(self) -> int:
        """The number of the newest answer."""
        return self._newest

    def after(self, number: int) -> list[Answer]:
        """The answers newer than a number."""
        return [answer for kept, answer in self._kept if kept > number]
