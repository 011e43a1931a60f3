"""A queue so simple that it can be seen to be right: one list, looked through from its beginning each time.

It is the oracle for the queue in memory, and every promise is one line, which a test of the contract may break.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from sdpatterns.core.runtime import Runtime
from sdpatterns.errors import BackendFull
from sdpatterns.ports.queue import (
    Capability,
    Claimed,
    Claims,
    Complete,
    Message,
    Park,
    Parked,
    QueueDepth,
    QueueSettings,
    Requeue,
    Settlement,
    check_claim,
    check_extension,
    check_messages,
    check_settlements,
    kept_reason,
    topic_of,
)


@dataclasses.dataclass
class Row:
    message: Message
    number: int
    payload: bytes
    headers: Mapping[str, str]
    published_us: int
    due_us: int
    """When it may be claimed next: after its delay, or when its lease ends."""
    fence: int = 0
    attempt: int = 0
    is_held: bool = False
    position: int = 0
    """Where it stands among the dead letters, else 0."""
    parked_us: int = 0
    reason: str = ""

    @property
    def rank_us(self) -> int:
        return self.due_us + int(self.message.rank_s * 1e6)


class NaiveQueue:
    runtime: Runtime | None = None
    capabilities: frozenset[Capability] = frozenset(
        {"fence", "keyed order", "fair share", "delay", "unique", "redrive"}
    )
    rank_of: ClassVar[Callable[[Row], Any]] = lambda row: row.rank_us

    def __init__(
        self, name: str, settings: QueueSettings, now_us: Callable[[], int], ring: Callable[[Sequence[str]], None]
    ) -> None:
        self.name, self.settings, self.now_us, self.ring = name, settings, now_us, ring
        self.topic = topic_of(name)
        self.rows: list[Row] = []
        self.lock = threading.RLock()
        self.numbers = self.fences = self.positions = 0
        self.served: list[str] = []

    # What is where.

    def rows_now(self) -> list[Row]:
        keep_us = int(self.settings.parked_keep_s * 1e6)
        self.rows = [row for row in self.rows if not row.position or row.parked_us > self.now_us() - keep_us]
        return self.rows

    def find(self, name: str) -> Row | None:
        return next((row for row in self.rows_now() if row.message.id == name), None)

    def is_out(self, row: Row) -> bool:
        return row.is_held and row.due_us > self.now_us()

    def is_first(self, row: Row) -> bool:
        return self.key_of(row) is None or row is next(
            other for other in self.rows if not other.position and self.key_of(other) == self.key_of(row)
        )

    def key_of(self, row: Row) -> str | None:
        return row.message.key

    def due(self) -> list[Row]:
        rows = self.rows_now()
        return [row for row in rows if not row.position and row.due_us <= self.now_us() and self.is_first(row)]

    def in_turn(self, rows: list[Row], n: int) -> list[Row]:
        """Up to n of what is due, tenants in turn, the one served longest ago first."""
        lines: dict[str, list[Row]] = {}
        for row in sorted(rows, key=lambda row: (type(self).rank_of(row), row.number)):
            lines.setdefault(row.message.tenant, []).append(row)
        taken: list[Row] = []
        while lines and len(taken) < n:
            tenant = min(lines, key=lambda name: self.served.index(name) if name in self.served else -1)
            taken.append(lines[tenant].pop(0))
            if not lines[tenant]:
                del lines[tenant]
            self.served = [name for name in self.served if name != tenant] + [tenant]
        return taken

    def held(self, claimed: Claimed) -> Row | None:
        row = self.find(claimed.id)
        return row if row is not None and row.is_held and row.fence == claimed.fence else None

    # What changes it, message by message.

    def new_row(self, message: Message) -> Row:
        self.numbers += 1
        now_us = self.now_us()
        due_us = now_us + int(message.delay_s * 1e6)
        return Row(message, self.numbers, message.payload, dict(message.headers), now_us, due_us)

    def add(self, message: Message) -> bool:
        row = self.find(message.id)
        if row is not None:
            if not message.replace or self.is_out(row):
                return False
            self.rows.remove(row)
        if len(self.rows) >= self.settings.messages_max:
            raise BackendFull(self.name)
        self.rows.append(self.new_row(message))
        return True

    def lease(self, row: Row, lease_s: float) -> Claimed:
        row.attempt += 1
        row.fence = self.fences = max(self.fences + 1, self.now_us())
        row.due_us = self.now_us() + int(lease_s * 1e6)
        row.is_held = True
        message = row.message
        return Claimed(
            message.id, row.payload, dict(row.headers), message.key, message.tenant, row.fence, row.attempt,
            row.published_us, row.due_us,
        )  # fmt: skip

    def end(self, settlement: Settlement) -> bool:
        row = self.held(settlement.claimed)
        if row is None:
            return False
        row.is_held = False
        if isinstance(settlement, Complete):
            self.rows.remove(row)
        elif isinstance(settlement, Requeue):
            self.give_back(row, settlement)
        else:
            self.park(row, settlement)
        return True

    def give_back(self, row: Row, how: Requeue) -> None:
        row.due_us = self.now_us() + int(how.after_s * 1e6)
        row.attempt -= not how.counts
        row.payload = row.payload if how.payload is None else how.payload
        row.headers = row.headers if how.headers is None else dict(how.headers)

    def park(self, row: Row, how: Park) -> None:
        row.position = self.positions = max(self.positions + 1, self.now_us())
        row.parked_us, row.reason = self.now_us(), kept_reason(how.reason)

    def revive(self, row: Row) -> None:
        """To the end of the line."""
        self.rows.remove(row)
        self.rows.append(row)
        self.numbers += 1
        row.number, row.position, row.attempt, row.due_us = self.numbers, 0, 0, self.now_us()

    # The port.

    async def publish(self, messages: Sequence[Message], /) -> list[bool]:
        check_messages(messages, self.settings)
        with self.lock:
            before, numbers = list(self.rows), self.numbers
            try:
                added = [self.add(message) for message in messages]
            except BackendFull:
                self.rows, self.numbers = before, numbers
                raise
        self.ring([self.topic])
        return added

    async def claim(self, n: int, lease_s: float, /) -> Claims:
        check_claim(n, lease_s)
        with self.lock:
            claimed = [self.lease(row, lease_s) for row in self.in_turn(self.due(), n)]
            return Claims(claimed, self.due_in_s())

    def due_in_s(self) -> float | None:
        firsts = [row.due_us for row in self.rows if not row.position and self.is_first(row)]
        return max(0.0, (min(firsts) - self.now_us()) / 1e6) if firsts else None

    async def extend(self, claims: Sequence[Claimed], lease_s: float, /) -> list[bool]:
        check_extension(lease_s)
        with self.lock:
            return [self.prolong(claimed, lease_s) for claimed in claims]

    def prolong(self, claimed: Claimed, lease_s: float) -> bool:
        row = self.held(claimed)
        if row is not None:
            row.due_us = self.now_us() + int(lease_s * 1e6)
        return row is not None

    async def settle(self, settlements: Sequence[Settlement], /) -> list[bool]:
        check_settlements(settlements, self.settings)
        with self.lock:
            settled = [self.end(settlement) for settlement in settlements]
        self.ring([self.topic])
        return settled

    async def depth(self) -> QueueDepth:
        with self.lock:
            due, parked = self.due(), [row for row in self.rows_now() if row.position]
            out = [row for row in self.rows if not row.position and self.is_out(row)]
            lag_us = self.now_us() - min(row.due_us for row in due) if due else 0
            waiting = len(self.rows) - len(due) - len(out) - len(parked)
            return QueueDepth(len(due), waiting, len(out), len(parked), lag_us / 1e6)

    async def withdraw(self, ids: Sequence[str], /) -> list[bool]:
        with self.lock:
            withdrawn = [self.drop(name, lambda row: not row.position and not self.is_out(row)) for name in ids]
        self.ring([self.topic])
        return withdrawn

    def drop(self, name: str, may_go: Callable[[Row], bool]) -> bool:
        row = self.find(name)
        if row is None or not may_go(row):
            return False
        self.rows.remove(row)
        return True

    async def parked(self, limit: int, after: int = 0, /) -> list[Parked]:
        with self.lock:
            letters = sorted((row for row in self.rows_now() if row.position > after), key=lambda row: row.position)
            return [
                Parked(
                    row.position, row.message.id, row.payload, dict(row.headers), row.message.key, row.message.tenant,
                    row.attempt, row.reason, row.published_us, row.parked_us,
                )
                for row in letters[:limit]
            ]  # fmt: skip

    async def redrive(self, ids: Sequence[str], /) -> list[bool]:
        with self.lock:
            redriven = []
            for name in ids:
                row = self.find(name)
                redriven.append(row is not None and row.position > 0)
                if row is not None and row.position:
                    self.revive(row)
        self.ring([self.topic])
        return redriven

    async def discard(self, ids: Sequence[str], /) -> list[bool]:
        with self.lock:
            return [self.drop(name, lambda row: row.position > 0) for name in ids]
