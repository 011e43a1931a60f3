"""An outside service that the workers of the crash matrix call: it keeps a book of its own, and no fault strikes it.

It runs in the process of the test. A worker says what it begins and what it has done, over a connection of its own,
so the test sees from outside who works on what, and when another worker went on with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any, Self


class Provider:
    """The service, and what it knows."""

    def __init__(self) -> None:
        self.book: dict[str, dict[str, Any]] = {}
        """The first request of each idempotency key."""
        self.asked: Counter[str] = Counter()
        """How often each idempotency key was seen."""
        self.held: defaultdict[int, set[str]] = defaultdict(set)
        """What each worker has begun and nobody has finished or begun since."""
        self.refused = 0
        self.deaths: Counter[str] = Counter()
        """Where workers said that they end themselves."""
        self.done: list[Any] = []
        """What the workers said when they finished something."""
        self.began_s: list[float] = []
        """When something began."""
        self.is_over = False
        """Whether workers that look for work themselves are to begin nothing more."""
        self._taken_s: dict[str, float] = {}
        self._news = asyncio.Event()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where workers find it."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self._answer(**json.loads(line))).encode() + b"\n")
        except ConnectionError:
            pass  # the worker was killed
        finally:
            writer.close()
            self._news.set()

    def _answer(self, *, op: str, pid: int, key: str = "", **facts: Any) -> Any:
        answer = getattr(self, f"_{op}")(pid, key, **facts)
        self._news.set()
        return answer

    def _began(self, pid: int, key: str) -> None:
        now_s = time.monotonic()
        self.began_s.append(now_s)
        for other, keys in self.held.items():
            if other != pid and key in keys:
                keys.discard(key)
                self._taken_s[key] = now_s
        self.held[pid].add(key)

    def _effect(self, _: int, key: str, **facts: Any) -> Any:
        self.asked[key] += 1
        self.book.setdefault(key, facts)
        return facts

    def _done(self, pid: int, key: str, what: Any = None) -> None:
        self.held[pid].discard(key)
        self.done.append(what)

    def _late(self, pid: int, key: str) -> None:
        self.held[pid].discard(key)
        self.refused += 1

    def _dies(self, _: int, where: str) -> None:
        self.deaths[where] += 1

    def _more(self, *_: object) -> bool:
        return not self.is_over

    async def until(self, what: Callable[[], bool], at_most_s: float) -> bool:
        """Wait for it; False where it does not come in time."""
        limit_s = time.monotonic() + at_most_s
        while not what():
            left_s = limit_s - time.monotonic()
            if left_s <= 0:
                return False
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), min(left_s, 1.0))
            except TimeoutError:
                continue
        return True

    def taken_after_s(self, keys: AbstractSet[str], since_s: float) -> float | None:
        """Seconds until other workers had begun all of these; None where they took none of them."""
        taken = [at_s for key in keys if (at_s := self._taken_s.get(key, 0.0)) >= since_s]
        return max(taken) - since_s if taken else None


class Client:
    """A worker's connection to the provider."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, op: str, key: str = "", **facts: Any) -> Any:
        """One request and its answer."""
        async with self._lock:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(json.dumps({"op": op, "pid": os.getpid(), "key": key, **facts}).encode() + b"\n")
            try:
                return json.loads(await reader.readline())
            except asyncio.CancelledError:
                # The answer is still to come, and would be taken for that of the next request.
                self._streams = None
                writer.close()
                raise
