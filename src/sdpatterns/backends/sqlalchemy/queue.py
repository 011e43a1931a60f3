"""Queues in two tables: `sdp_messages`, and `sdp_parked` for dead letters."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from sdpatterns.backends.sqlalchemy.engine.requests import VerbRequest
from sdpatterns.backends.sqlalchemy.engine.texts import stored_text
from sdpatterns.backends.sqlalchemy.messages.rows import (
    ClaimOrder,
    Extension,
    LetterPage,
    Taken,
    ending,
    microseconds,
    row,
)
from sdpatterns.backends.sqlalchemy.messages.verbs import Verb
from sdpatterns.backends.sqlalchemy.resources import SQLResources
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.runtime import Runtime
from sdpatterns.errors import SdpatternsError
from sdpatterns.ports.queue import (
    Capability,
    Claimed,
    Claims,
    DeadLettersDropped,
    Message,
    Park,
    Parked,
    QueueDepth,
    QueueSettings,
    Settlement,
    check_claim,
    check_extension,
    check_messages,
    check_settlements,
    topic_of,
)

__all__ = ["DEFAULT", "SQLQueue", "StoredQueue"]

DEFAULT = QueueSettings()

_CAPABILITIES: frozenset[Capability] = frozenset(
    {"fence", "keyed order", "fair share", "delay", "unique", "redrive", "transaction"}
)
_LOOKS_MAX = 8
"""How often one claim looks again, for what was not due by its state yet."""
_PROMOTED = 1000
_SWEPT = 500


class StoredQueue(ABC):
    """What a queue asks for, for `SQLQueue`, and for `ViewQueue` in a transaction of the caller's."""

    runtime: Runtime | None
    capabilities = _CAPABILITIES

    def __init__(self, name: str, settings: QueueSettings) -> None:
        self.name = name
        self.topic = topic_of(name)
        self.settings = settings
        self._stored = stored_text(name)
        self._keep_us = microseconds(settings.parked_keep_s)
        # Whose turn it was last. Each process lets the tenants take turns by itself: nothing is written for it.
        self._after = ""

    @abstractmethod
    async def _carry(self, request: VerbRequest) -> None:
        """Have the request done. Raises what it ended with."""

    @abstractmethod
    def _give_back(self, claims: Sequence[Claimed]) -> None:
        """Let others have soon what was claimed for a caller that is cancelled."""

    async def _ask(self, verb: Verb, items: Sequence[Any]) -> Sequence[Any]:
        if not items:
            return ()
        request = VerbRequest(verb, self._stored, items)
        await self._carry(request)
        return request.answers

    async def publish(self, messages: Sequence[Message], /) -> Sequence[bool]:
        check_messages(messages, self.settings)
        return await self._ask("publish", [row(message) for message in messages])

    async def claim(self, n: int, lease_s: float, /) -> Claims:
        check_claim(n, lease_s)
        found: list[Claimed] = []
        looks = 0
        while len(found) < n:
            try:
                taken = await self._take(n - len(found), microseconds(lease_s))
            except SdpatternsError:
                # What was claimed before must not wait for the end of its lease.
                if found:
                    break
                raise
            except BaseException:
                self._give_back(found)
                raise
            found += taken.messages
            looks += 1
            if not taken.is_more:
                if len(found) < n:
                    return Claims(found, None if taken.wait_us is None else taken.wait_us / 1e6)
            elif looks >= _LOOKS_MAX:
                break
        return Claims(found, 0.0)

    async def _take(self, n: int, lease_us: int) -> Taken:
        """One look. What lies in the way of others is put right, so that another look may find more."""
        taken: Taken
        [taken] = await self._ask("claim", [ClaimOrder(n, lease_us, self._after)])
        self._after = taken.tenant
        # If it fails, the next claim will see to it.
        with contextlib.suppress(SdpatternsError):
            if taken.markers:
                await self._ask("clear", taken.markers)
            if taken.wait_us is not None and taken.wait_us <= 0:
                await self._ask("promote", [_PROMOTED])
        return taken

    async def extend(self, claims: Sequence[Claimed], lease_s: float, /) -> Sequence[bool]:
        check_extension(lease_s)
        lease_us = microseconds(lease_s)
        return await self._ask("extend", [Extension(stored_text(each.id), each.fence, lease_us) for each in claims])

    async def settle(self, settlements: Sequence[Settlement], /) -> Sequence[bool]:
        check_settlements(settlements, self.settings)
        answers = await self._ask("settle", [ending(each, self._keep_us) for each in settlements])
        if any(isinstance(each, Park) for each in settlements):
            await self._sweep()
        return answers

    async def depth(self) -> QueueDepth:
        depth: QueueDepth
        [depth] = await self._ask("depth", [None])
        return depth

    async def withdraw(self, ids: Sequence[str], /) -> Sequence[bool]:
        return await self._ask("withdraw", [*map(stored_text, ids)])

    async def parked(self, limit: int, after: int = 0, /) -> Sequence[Parked]:
        page: Sequence[Parked]
        [page] = await self._ask("parked", [LetterPage(limit, after)])
        return page

    async def redrive(self, ids: Sequence[str], /) -> Sequence[bool]:
        answers = await self._ask("redrive", [*map(stored_text, ids)])
        await self._sweep()
        return answers

    async def discard(self, ids: Sequence[str], /) -> Sequence[bool]:
        answers = await self._ask("discard", [*map(stored_text, ids)])
        await self._sweep()
        return answers

    async def _sweep(self) -> None:
        """Drop a few of the dead letters that are too old. If it fails, the next one will see to it."""
        with contextlib.suppress(SdpatternsError):
            [dropped] = await self._ask("sweep", [_SWEPT])
            if dropped and LISTENERS:
                tell(DeadLettersDropped(name=self.name, count=dropped))


class SQLQueue(StoredQueue):
    """Keeps messages in a SQL database, for all processes that use it: see `MessageQueue`.

    `messages_max` does not apply: the disk is the limit. **Costs**: on SQLite one hop to the writer's thread and one
    transaction for what all callers of a loop turn publish, extend or settle; on Postgres one statement for it, four
    where messages have keys. A claim is one statement for all of its messages, on a connection that the queues of a
    loop share. `docs/backends/sql.md` has the rest.
    """

    def __init__(self, name: str, settings: QueueSettings, runtime: Runtime, here: Callable[[], SQLResources]) -> None:
        super().__init__(name, settings)
        self.runtime: Runtime | None = runtime
        self._here = here

    async def _carry(self, request: VerbRequest) -> None:
        await self._here().flushes.carry(request)

    def _give_back(self, claims: Sequence[Claimed]) -> None:
        if claims:
            self._here().flushes.settle_soon(self._stored, claims)
