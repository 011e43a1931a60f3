"""The answers that clients saw, gathered from every gateway: once for the judge, and for every open page."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from itertools import count
from typing import Any, NamedTuple

from shop.stage.control.budgets import Answered, Budgets
from shop.stage.control.history import History
from shop.stage.control.replicas import Replicas

_KEPT_MAX = 2_000
_UNJUDGED_MAX = 50_000
_PULLS_S = 0.4  # at most so often between two looks, however many watch
_LIVELY_S = 3.0


class Answer(NamedTuple):
    """One answer, as a gateway noted it."""

    arrived_us: int
    answered_us: int
    kind: str
    status: int
    trace_id: str
    client: str
    is_api: bool

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
        self.budgets = Budgets()
        self._lock = asyncio.Lock()
        self._read: dict[str, int] = {}
        self._pulled_s = self._heard_s = 0.0
        self._unjudged: deque[Answer] = deque(maxlen=_UNJUDGED_MAX)
        self._kept: deque[tuple[int, Answer]] = deque(maxlen=_KEPT_MAX)
        self._numbers = count(1)
        self._newest = 0

    async def pull(self) -> None:
        """Read on between two looks, while clients are answered; those who ask at once get one reading."""
        if self._lock.locked() or not self._is_lively():
            return
        async with self._lock:
            for address in self._replicas.addresses("gateway"):
                page = self.next_page(address)
                self.take(address, page, await self._replicas.ask(address, "GET", page))

    def _is_lively(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._pulled_s < _PULLS_S or now_s - self._heard_s > _LIVELY_S:
            return False
        self._pulled_s = now_s
        return True

    def next_page(self, address: str) -> str:
        """Where the answers are that a gateway has given since the last time."""
        return f"/internal/answers?after={self._read.get(address, 0)}"

    def take(self, address: str, page: str, found: Any) -> None:
        """Take in a page, unless it was taken in already, or there is none."""
        if not found or not found["answers"] or page != self.next_page(address):
            return
        self._heard_s = time.monotonic()
        self._read[address] = found["answers"][-1]["number"]
        for row in found["answers"]:
            self._take(Answer(*(row[name] for name in Answer._fields)))

    def _take(self, answer: Answer) -> None:
        self._newest = next(self._numbers)
        self._kept.append((self._newest, answer))
        self._unjudged.append(answer)
        self.history.take(answer.kind, answer.status, answer.arrived_us, answer.answered_us)
        if answer.is_api:
            took_us = answer.answered_us - answer.arrived_us
            self.budgets.take(Answered(answer.kind, answer.status, took_us), answer.answered_us)

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
