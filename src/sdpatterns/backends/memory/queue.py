"""The MessageQueue of this process.

```
publish --> delayed --(due)--> ready, by tenant --claim--> leased --complete--> gone
      |                          ^    ^                     | | `--park--> dead letters --redrive--> ready
      `--> behind another -------'    `--- lease over ------' `--requeue--> delayed or ready
           of its key
```
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import cast

from sdpatterns.backends.memory.messages.agenda import Agenda
from sdpatterns.backends.memory.messages.kept import BEHIND, DELAYED, LEASED, PARKED, READY, KeptMessage
from sdpatterns.backends.memory.messages.letters import Letters
from sdpatterns.backends.memory.messages.ready import Ready
from sdpatterns.core.clock import SYSTEM, Clock
from sdpatterns.core.fence import next_fence
from sdpatterns.core.forks import new_lock
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.runtime import Runtime
from sdpatterns.errors import BackendFull
from sdpatterns.ports.queue import (
    Capability,
    Claimed,
    Claims,
    Complete,
    DeadLettersDropped,
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

__all__ = ["MemoryQueue"]

_CAPABILITIES: frozenset[Capability] = frozenset(
    {"fence", "keyed order", "fair share", "delay", "unique", "redrive"},
)
_SWEPT_AT_ONCE = 64


class MemoryQueue:
    """Keeps messages in the memory of this process, for all its threads and loops: see `MessageQueue`.

    Nothing survives the process. One plain lock is held for one call and never across an await.
    Raises `BackendFull` beyond `messages_max`.

    Costs: no call suspends or looks at what it is not about. About 500 bytes a message beside its payload.
    """

    runtime: Runtime | None = None
    capabilities = _CAPABILITIES

    def __init__(
        self,
        name: str,
        settings: QueueSettings,
        *,
        clock: Clock = SYSTEM,
        ring: Callable[[Sequence[str]], None],
    ) -> None:
        self.name = name
        self.topic = topic_of(name)
        self.settings = settings
        self._clock = clock
        self._ring = ring
        self._lock = new_lock()
        self._last_us = 0
        self._fence = 0
        self._numbers = 0
        self._leased = 0
        # What the present call has to tell once the lock is free.
        self._is_due_earlier = False
        self._dropped = 0
        self._messages: dict[str, KeptMessage] = {}
        self._ready = Ready()
        # Leases that end, and delays that pass.
        self._later = Agenda()
        # For each key with a message: those behind the first, if there ever were any.
        self._behind: dict[str, OrderedDict[int, KeptMessage] | None] = {}
        self._letters = Letters(int(settings.parked_keep_s * 1e6))

    async def publish(self, messages: Sequence[Message], /) -> list[bool]:
        check_messages(messages, self.settings)
        with self._lock:
            now_us = self._tick()
            self._make_room(messages, now_us)
            added = [self._publish(message, now_us) for message in messages]
            news = self._news()
        self._announce(news)
        return added

    async def claim(self, n: int, lease_s: float, /) -> Claims:
        check_claim(n, lease_s)
        with self._lock:
            now_us = self._tick()
            until_us = now_us + int(lease_s * 1e6)
            claimed: list[Claimed] = []
            # The fence is the queue's own, so that it also grows for an id that is published again.
            fence, later = self._fence, self._later
            for kept in self._ready.take(n):
                fence = next_fence(fence, now_us)
                claimed.append(kept.lease(fence, until_us))
                later.add(until_us, kept)
            self._fence = fence
            self._leased += len(claimed)
            claims = Claims(claimed, self._due_in_s(now_us))
            news = self._news()
        self._announce(news)
        return claims

    async def extend(self, claims: Sequence[Claimed], lease_s: float, /) -> list[bool]:
        check_extension(lease_s)
        with self._lock:
            until_us = self._tick() + int(lease_s * 1e6)
            extended = [self._extend(claim, until_us) for claim in claims]
            news = self._news()
        self._announce(news)
        return extended

    async def settle(self, settlements: Sequence[Settlement], /) -> list[bool]:
        check_settlements(settlements, self.settings)
        with self._lock:
            now_us = self._tick()
            settled = [self._settle(settlement, now_us) for settlement in settlements]
            news = self._news()
        self._announce(news)
        return settled

    async def depth(self) -> QueueDepth:
        with self._lock:
            now_us = self._tick()
            self._sweep(now_us, len(self._letters))
            due, leased, parked = self._ready.count, self._leased, len(self._letters)
            since_us = self._ready.first_since_us()
            waiting = len(self._messages) - due - leased - parked
            news = self._news()
        self._announce(news)
        return QueueDepth(due, waiting, leased, parked, 0.0 if since_us is None else (now_us - since_us) / 1e6)

    async def withdraw(self, ids: Sequence[str], /) -> list[bool]:
        with self._lock:
            now_us = self._tick()
            withdrawn = [self._withdraw(each, now_us) for each in ids]
            news = self._news()
        self._announce(news)
        return withdrawn

    async def parked(self, limit: int, after: int = 0, /) -> list[Parked]:
        with self._lock:
            self._sweep(self._tick(), len(self._letters))
            page = self._letters.page(limit, after)
            news = self._news()
        self._announce(news)
        return page

    async def redrive(self, ids: Sequence[str], /) -> list[bool]:
        with self._lock:
            now_us = self._tick()
            self._sweep(now_us, len(self._letters))
            redriven = [self._redrive(each, now_us) for each in ids]
            news = self._news()
        self._announce(news)
        return redriven

    async def discard(self, ids: Sequence[str], /) -> list[bool]:
        with self._lock:
            self._sweep(self._tick(), len(self._letters))
            discarded = [self._discard(each) for each in ids]
            news = self._news()
        self._announce(news)
        return discarded

    def _announce(self, news: tuple[bool, int]) -> None:
        is_due_earlier, dropped = news
        if is_due_earlier:
            self._ring((self.topic,))
        if dropped and LISTENERS:
            tell(DeadLettersDropped(name=self.name, count=dropped))

    # What follows runs under the lock.

    def _tick(self) -> int:
        """The queue's time, which never goes back; what it makes due becomes ready."""
        now_us = self._last_us = max(self._last_us, self._clock.now_us())
        later = self._later
        first_us = later.first_us()
        while first_us is not None and first_us <= now_us:
            kept = later.take()
            if kept.state == LEASED:
                self._leased -= 1
            self._ready.put(kept, first_us)
            first_us = later.first_us()
        self._is_due_earlier = False
        self._dropped = 0
        if self._letters:
            self._sweep(now_us, _SWEPT_AT_ONCE)
        return now_us

    def _sweep(self, now_us: int, most: int) -> None:
        """Drop dead letters that were kept for long enough, the oldest first."""
        for kept in self._letters.too_old(now_us, most):
            self._forget(kept)
            self._dropped += 1

    def _news(self) -> tuple[bool, int]:
        return self._is_due_earlier, self._dropped

    def _due_in_s(self, now_us: int) -> float | None:
        if self._ready.count:
            return 0.0
        first_us = self._later.first_us()
        return None if first_us is None else (first_us - now_us) / 1e6

    def _make_room(self, messages: Sequence[Message], now_us: int) -> None:
        most = self.settings.messages_max
        if len(self._messages) + len(messages) <= most:
            return
        self._sweep(now_us, len(self._letters))
        new = len({message.id for message in messages} - self._messages.keys())
        if len(self._messages) + new > most:
            raise BackendFull(f"the queue {self.name!r} holds {len(self._messages)} messages, its bound is {most}")

    def _publish(self, message: Message, now_us: int) -> bool:
        earlier = self._messages.get(message.id)
        if earlier is not None:
            is_over = earlier.state == PARKED and self._letters.is_too_old(earlier, now_us)
            if not is_over and (not message.replace or earlier.state == LEASED):
                return False
            self._take_out(earlier, now_us)
        self._numbers += 1
        kept = self._messages[message.id] = KeptMessage(message, self._numbers, now_us)
        self._line_up(kept, now_us)
        return True

    def _line_up(self, kept: KeptMessage, now_us: int) -> None:
        """Behind the messages of its key, or to where it can be claimed."""
        key = kept.key
        if key is None:
            self._offer(kept, now_us)
        elif key not in self._behind:
            self._behind[key] = None
            self._offer(kept, now_us)
        else:
            kept.state = BEHIND
            behind = self._behind[key]
            if behind is None:
                behind = self._behind[key] = OrderedDict()
            behind[kept.number] = kept

    def _offer(self, kept: KeptMessage, now_us: int) -> None:
        self._is_due_earlier = True
        if kept.due_us <= now_us:
            self._ready.put(kept, now_us)
        else:
            kept.state = DELAYED
            self._later.add(kept.due_us, kept)

    def _next_of(self, key: str, now_us: int) -> None:
        behind = self._behind[key]
        if behind:
            _, kept = behind.popitem(last=False)
            self._offer(kept, now_us)
        else:
            del self._behind[key]

    def _move(self, kept: KeptMessage) -> None:
        """Away from where it is, to another place or none."""
        state = kept.state
        kept.turn += 1
        kept.agenda = None
        if state == READY:
            self._ready.removed(kept)
        elif state == PARKED:
            self._letters.removed(kept)
        elif state == BEHIND:
            cast("OrderedDict[int, KeptMessage]", self._behind[cast("str", kept.key)]).pop(kept.number)
        else:
            self._later.removed()
            if state == LEASED:
                self._leased -= 1

    def _forget(self, kept: KeptMessage) -> None:
        self._move(kept)
        kept.forget()
        del self._messages[kept.id]

    def _take_out(self, kept: KeptMessage, now_us: int) -> None:
        """Forget it; where it was the first of its key, the next one is now."""
        key = None if kept.state in {BEHIND, PARKED} else kept.key
        self._forget(kept)
        if key is not None:
            self._next_of(key, now_us)

    def _held(self, claimed: Claimed) -> KeptMessage | None:
        """The message of a claim that still stands."""
        kept = self._messages.get(claimed.id)
        return kept if kept is not None and kept.held and kept.fence == claimed.fence else None

    def _extend(self, claimed: Claimed, until_us: int) -> bool:
        kept = self._held(claimed)
        if kept is None:
            return False
        self._move(kept)
        kept.state = LEASED
        kept.due_us = until_us
        self._leased += 1
        self._later.add(until_us, kept)
        return True

    def _settle(self, settlement: Settlement, now_us: int) -> bool:
        kept = self._held(settlement.claimed)
        if kept is None:
            return False
        if isinstance(settlement, Complete):
            self._take_out(kept, now_us)
        elif isinstance(settlement, Requeue):
            self._requeue(kept, settlement, now_us)
        else:
            self._park(kept, settlement, now_us)
        return True

    def _requeue(self, kept: KeptMessage, how: Requeue, now_us: int) -> None:
        self._move(kept)
        kept.held = False
        kept.due_us = now_us + int(how.after_s * 1e6)
        if not how.counts:
            kept.attempt -= 1
        if how.payload is not None:
            kept.payload = how.payload
        if how.headers is not None:
            kept.headers = dict(how.headers)
        # It stays the first of its key.
        self._offer(kept, now_us)

    def _park(self, kept: KeptMessage, how: Park, now_us: int) -> None:
        self._move(kept)
        kept.held = False
        kept.reason = kept_reason(how.reason)
        self._letters.add(kept, now_us)
        if kept.key is not None:
            self._next_of(kept.key, now_us)

    def _withdraw(self, name: str, now_us: int) -> bool:
        kept = self._messages.get(name)
        if kept is None or kept.state in {LEASED, PARKED}:
            return False
        self._take_out(kept, now_us)
        return True

    def _redrive(self, name: str, now_us: int) -> bool:
        kept = self._messages.get(name)
        if kept is None or kept.state != PARKED:
            return False
        self._move(kept)
        kept.attempt = 0
        kept.due_us = now_us
        self._line_up(kept, now_us)
        return True

    def _discard(self, name: str) -> bool:
        kept = self._messages.get(name)
        if kept is None or kept.state != PARKED:
            return False
        self._forget(kept)
        return True
