"""MessageQueue: messages that are worked on once a lease, in order for each key, by any number of workers.

```
publish ---> due ---> claim: leased ---> settle: complete, release (due again later) or park (dead letter)
              ^            |  extend: the lease moves on
              +------------+  lease over: due again, attempt + 1
```

A queue has four verbs. Each takes many messages at once, because one trip to a store costs the same for one
message and for two hundred. What only some stores can do is a *capability*: a pattern asks for it when it is
built (`require`), so that a queue without it is refused there and not at run time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from sdpatterns.core.keys import check_key
from sdpatterns.core.ranges import number, whole
from sdpatterns.core.runtime import Runtime

__all__ = [
    "Capability",
    "Claimed",
    "Claims",
    "Complete",
    "Message",
    "MessageQueue",
    "Park",
    "Parked",
    "QueueDepth",
    "QueueSettings",
    "Requeue",
    "Settlement",
    "require",
    "topic_of",
]

Capability: TypeAlias = Literal["fence", "keyed order", "fair share", "delay", "unique", "redrive", "transaction"]
"""What a queue may offer beside its four verbs: see `docs/design/ports.md`."""

PAYLOAD_BYTES_MAX: Final = 262_144
"""Default bound on the payload of one message."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueueSettings:
    """What a pattern says once of its queue. Raises `ValueError` for a setting out of range.

    `messages_max` bounds the messages that wait where this process holds them (memory), `payload_bytes_max`
    each message everywhere. A parked message is kept for `parked_keep_s` seconds.
    """

    messages_max: int = 1_048_576
    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    parked_keep_s: float = 14 * 86_400.0

    def __post_init__(self) -> None:
        """Check the settings."""
        whole("messages_max", self.messages_max, 1)
        whole("payload_bytes_max", self.payload_bytes_max, 1, 16_777_216)
        number("parked_keep_s", self.parked_keep_s, 60.0, 10 * 366 * 86_400.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Message:
    """What is published: bytes, and how they are to be handed out.

    `id` names the message: a second one with the same id is dropped while the first is in the queue, waiting,
    leased or parked. So a publisher that lost the reply sends the same message again. With `replace` the second
    one takes the first one's place instead, as long as no worker has it (debounce).
    Messages of one `key` are worked on one at a time, in the order in which they were committed.
    Messages of several tenants take turns. `delay_s` is counted by the store's clock.
    `rank_s` orders what is due: a message counts as if it had been due that many seconds later, or earlier
    where it is negative. So a low priority is overtaken for a bounded time only (aging).
    """

    id: str
    payload: bytes
    key: str | None = None
    tenant: str = ""
    delay_s: float = 0.0
    rank_s: float = 0.0
    replace: bool = False
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what would be wrong on every store."""
        check_key(self.id)
        if self.key is not None:
            check_key(self.key)
        if self.tenant:
            check_key(self.tenant)
        number("delay_s", self.delay_s, 0.0, 10 * 366 * 86_400.0)
        number("rank_s", self.rank_s, -366 * 86_400.0, 366 * 86_400.0)


class Claimed(NamedTuple):
    """A message that this worker may work on until its lease ends.

    `attempt` is 1 at the first claim and counts every claim but those that were given back by
    `Requeue(..., counts=False)`. `fence` grows with every claim of a message. `published_us` and
    `leased_until_us` are by the store's clock.
    """

    id: str
    payload: bytes
    headers: Mapping[str, str]
    key: str | None
    tenant: str
    fence: int
    attempt: int
    published_us: int
    leased_until_us: int


class Claims(NamedTuple):
    """The answer to a claim: messages, and the seconds until the next one is due, as far as known.

    `due_in_s` is None where no other message waits for its time, and 0 where more may be due now.
    """

    messages: Sequence[Claimed]
    due_in_s: float | None


class Complete(NamedTuple):
    """The work is done: the message is gone."""

    claimed: Claimed


class Requeue(NamedTuple):
    """Give the message back: due again after `after_s`. Where `counts` is False this attempt is not counted.

    `payload` and `headers` take the place of the old ones where they are given.
    """

    claimed: Claimed
    after_s: float = 0.0
    counts: bool = True
    payload: bytes | None = None
    headers: Mapping[str, str] | None = None


class Park(NamedTuple):
    """Put the message aside as a dead letter, with the reason, until it is redriven, discarded or too old.

    The next message of its key is offered then.
    """

    claimed: Claimed
    reason: str


Settlement: TypeAlias = Complete | Requeue | Park


class Parked(NamedTuple):
    """A dead letter. `position` orders them by the time of parking: the last one read is where the next page begins."""

    position: int
    id: str
    payload: bytes
    headers: Mapping[str, str]
    key: str | None
    tenant: str
    attempt: int
    reason: str
    published_us: int
    parked_us: int


class QueueDepth(NamedTuple):
    """How much there is: `due` may be claimed now, `waiting` is delayed or behind another message of its key.

    `lag_s` is how long the earliest message that is due now has been due.
    """

    due: int
    waiting: int
    leased: int
    parked: int
    lag_s: float


class MessageQueue(Protocol):
    """One named queue.

    **Keeps**: a published message is handed out until it is settled, at least once for each lease that ends
    without a settlement; with "fence", a worker whose lease ended changes nothing; with "keyed order", messages of one
    key are out one at a time and in the order of their commits.

    **May fail** with `BackendUnavailable` (nothing happened), `OutcomeUnknown` (the reply was lost),
    `BackendFull`, or `ValueError` for what no store could keep. Each verb is safe to call again with the same
    arguments: `publish` by the message's id, `extend` and `settle` by its fence. A claim whose reply was lost
    leaves leases that end by themselves.
    """

    name: str
    runtime: Runtime | None
    capabilities: frozenset[Capability]
    topic: str
    """What is notified when a message became due earlier than a waiting worker knows: see `SignalBus`."""

    async def publish(self, messages: Sequence[Message], /) -> Sequence[bool]:
        """Add messages, all or none; for each whether it is in the queue through this call.

        False: a message with its id is there already, and was not replaced.
        """
        ...

    async def claim(self, n: int, lease_s: float, /) -> Claims:
        """Up to `n` messages that are due, each leased for `lease_s`."""
        ...

    async def extend(self, claims: Sequence[Claimed], lease_s: float, /) -> Sequence[bool]:
        """Move the ends of leases on; for each whether it still was this worker's."""
        ...

    async def settle(self, settlements: Sequence[Settlement], /) -> Sequence[bool]:
        """End claims; for each whether it still was this worker's, or had been settled so by it already."""
        ...

    async def depth(self) -> QueueDepth:
        """How much there is."""
        ...

    async def withdraw(self, ids: Sequence[str], /) -> Sequence[bool]:
        """Take out messages that no worker has; for each whether it was there. With "unique"."""
        ...

    async def parked(self, limit: int, after: int = 0, /) -> Sequence[Parked]:
        """Dead letters in the order of their parking, behind a position. With "redrive"."""
        ...

    async def redrive(self, ids: Sequence[str], /) -> Sequence[bool]:
        """Make dead letters due again, as attempt 1, at the end of their key; for each whether it was there."""
        ...

    async def discard(self, ids: Sequence[str], /) -> Sequence[bool]:
        """Forget dead letters; for each whether it was there."""
        ...


def topic_of(name: str) -> str:
    """The topic of the queue `name`."""
    return f"queue/{name}"


def require(queue: MessageQueue, who: str, *capabilities: Capability) -> None:
    """Raise TypeError where the queue lacks something that `who` needs."""
    missing = [each for each in capabilities if each not in queue.capabilities]
    if missing:
        raise TypeError(f"{who} needs a queue with {', '.join(missing)}; {type(queue).__name__} has none of that")
