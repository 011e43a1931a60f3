"""One message as this process keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sdpatterns.ports.queue import Claimed, Message, Parked

if TYPE_CHECKING:
    from sdpatterns.backends.memory.messages.agenda import Agenda

__all__ = ["BEHIND", "DELAYED", "GONE", "LEASED", "PARKED", "READY", "KeptMessage"]

READY: Final = 0
DELAYED: Final = 1
LEASED: Final = 2
BEHIND: Final = 3
PARKED: Final = 4
GONE: Final = 5


class KeptMessage:
    """A message and where it stands.

    `number` orders messages that are due at the same time, and those of one key. `held` says whether the last
    claim may still settle it, `due_us` when it is due: after a delay, or at the end of a lease.
    `turn`, `agenda`, `place` and `at_us` say where an agenda holds it now; one that still holds it elsewhere can
    tell by them that it has left.
    """

    __slots__ = (
        "agenda", "at_us", "attempt", "due_us", "fence", "headers", "held", "id", "key", "number", "payload", "place",
        "published_us", "rank_us", "ready_place", "reason", "since_us", "state", "tenant", "turn",
    )  # fmt: skip
    # Set where they begin to matter, because a publish is worth the nanoseconds.
    at_us: int
    place: int
    ready_place: int
    reason: str
    since_us: int

    def __init__(self, message: Message, number: int, now_us: int) -> None:
        self.id = message.id
        self.payload = message.payload
        headers = message.headers
        # A copy, because the publisher may change its own.
        self.headers = dict(headers) if headers else None
        self.key = message.key
        self.tenant = message.tenant
        delay_s, rank_s = message.delay_s, message.rank_s
        self.rank_us = int(rank_s * 1e6) if rank_s else 0
        self.due_us = now_us + int(delay_s * 1e6) if delay_s else now_us
        self.published_us = now_us
        self.number = number
        self.fence = 0
        self.attempt = 0
        self.held = False
        self.state = GONE
        self.turn = 0
        self.agenda: Agenda | None = None

    def lease(self, fence: int, until_us: int) -> Claimed:
        """Give it to a worker."""
        self.state = LEASED
        self.held = True
        self.fence = fence
        self.attempt += 1
        self.due_us = until_us
        headers = {} if self.headers is None else dict(self.headers)
        return Claimed(
            self.id, self.payload, headers, self.key, self.tenant, fence, self.attempt, self.published_us, until_us
        )

    def as_parked(self, position: int, parked_us: int) -> Parked:
        """What is told of a dead letter."""
        headers = {} if self.headers is None else dict(self.headers)
        return Parked(
            position, self.id, self.payload, headers, self.key, self.tenant, self.attempt, self.reason,
            self.published_us, parked_us,
        )  # fmt: skip

    def forget(self) -> None:
        """Leave all orders. They may hold it a little longer, so its bytes go now."""
        self.state = GONE
        self.held = False
        self.payload = b""
        self.headers = None
