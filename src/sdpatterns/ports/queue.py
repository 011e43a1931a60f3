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
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from sdpatterns.core.keys import check_key
from sdpatterns.core.notices import Notice
from sdpatterns.core.ranges import number, whole
from sdpatterns.core.runtime import Runtime

__all__ = [
    "Capability",
    "Claimed",
    "Claims",
    "Complete",
    "DeadLettersDropped",
    "Message",
    "MessageQueue",
    "Park",
    "Parked",
    "QueueDepth",
    "QueueSettings",
    "Requeue",
    "Settlement",
    "check_claim",
    "check_extension",
    "check_messages",
    "check_settlements",
    "kept_reason",
    "require",
    "topic_of",
]

Capability: TypeAlias = Literal["fence", "keyed order", "fair share", "delay", "unique", "redrive", "transaction"]
"""What a queue may offer beside its four verbs: see `docs/design/ports.md`."""

PAYLOAD_BYTES_MAX: Final = 262_144
"""Default bound on the payload of one message."""
HEADERS_BYTES_MAX: Final = 16_384
"""Bound on the names and values of one message's headers together."""
REASON_CHARS_MAX: Final = 4_096
"""What is kept of the reason for which a message was parked."""
LEASE_S_MAX: Final = 366 * 86_400.0
DELAY_S_MAX: Final = 10 * 366 * 86_400.0
RANK_S_MAX: Final = 366 * 86_400.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueueSettings:
    """What a pattern says once of its queue. Raises `ValueError` for a setting out of range.

    `messages_max` bounds the messages where this process holds them (memory): those that wait, are leased or
    parked. `payload_bytes_max` bounds each message everywhere. A parked message is kept for `parked_keep_s`
    seconds.
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
    leased or parked. So a publisher that lost the reply sends the same message again. With `replace` the first
    one is dropped instead, waiting or parked, as long as no worker has it (debounce); the second one is then
    a new message, at the end of its key.
    Messages of one `key` are worked on one at a time, in the order in which they were committed. The first one
    of a key holds up the others, also while its delay lasts; only settling or parking it lets the next one go.
    Messages of several tenants take turns. `delay_s` is counted by the store's clock.
    `rank_s` orders what is due and of one tenant: a message counts as if it had been due that many seconds
    later, or earlier where it is negative. So a low priority is overtaken for a bounded time only (aging).
    `headers` are texts, up to 16,384 bytes of them.

    Raises `ValueError` or TypeError for what no store could keep.
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
        _check_bytes(self.payload)
        if self.delay_s != 0:
            number("delay_s", self.delay_s, 0.0, DELAY_S_MAX)
        if self.rank_s != 0:
            number("rank_s", self.rank_s, -RANK_S_MAX, RANK_S_MAX)
        if self.headers:
            _check_headers(self.headers)


class Claimed(NamedTuple):
    """A message that this worker may work on until its lease ends.

    `attempt` is 1 at the first claim and counts every claim but those that were given back by
    `Requeue(..., counts=False)`. `fence` grows with every claim of a message, also when the store's clock was
    set back. `published_us` and `leased_until_us` are by the store's clock.
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
    """The answer to a claim: messages in the order in which they are due, and when to ask again.

    `due_in_s` says after how many seconds the next message is due, as far as known: after its delay, or
    because the lease of another worker ends. It is 0 where more may be due now, and None where none waits for
    its time. Until then a worker sleeps, because the queue's topic wakes it where one became due earlier.
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

    The next message of its key is offered then. The first 4,096 characters of the reason are kept.
    """

    claimed: Claimed
    reason: str


Settlement: TypeAlias = Complete | Requeue | Park


class Parked(NamedTuple):
    """A dead letter. `position` orders them by the time of parking: the last one read is where the next page begins.

    It is greater than 0 and never used twice. `attempt` is the one that failed last.
    """

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

    `lag_s` is how long the earliest message that is due now has been due. Where `at_least` is True there may be more
    than that, and an earlier one: a store that would have to look at each message looks at a bounded number (SQL:
    10,000 of each kind).
    """

    due: int
    waiting: int
    leased: int
    parked: int
    lag_s: float
    at_least: bool = False


class MessageQueue(Protocol):
    """One named queue.

    **Keeps**: a published message is handed out until it is settled, at least once for each lease that ends
    without a settlement; with "fence", a worker changes nothing once its message was handed out again; with
    "keyed order", messages of one key are out one at a time and in the order of their commits; with "fair
    share", a tenant with many messages holds up no other tenant's.

    **May fail** with `BackendUnavailable` (nothing happened), `OutcomeUnknown` (the reply was lost),
    `BackendFull`, or `ValueError` for what no store could keep. Each verb is safe to call again with the same
    arguments: `publish` by the message's id, `extend` and `settle` by its fence. A claim whose reply was lost
    leaves leases that end by themselves.

    Each call takes its arguments one after another, and all of them or none.
    """

    name: str
    runtime: Runtime | None
    capabilities: frozenset[Capability]
    topic: str
    """What is notified when a message became due earlier than a waiting worker knows: see `SignalBus`.

    So it is after a publish, a requeue or a redrive, and when the end of one message let the next of its key go.
    """

    async def publish(self, messages: Sequence[Message], /) -> Sequence[bool]:
        """Add messages, all or none; for each whether it is in the queue through this call.

        False: a message with its id is there already, and was not replaced.
        """
        ...

    async def claim(self, n: int, lease_s: float, /) -> Claims:
        """Up to `n` messages that are due, each leased for `lease_s`."""
        ...

    async def extend(self, claims: Sequence[Claimed], lease_s: float, /) -> Sequence[bool]:
        """Let leases end `lease_s` from now; for each whether it still was this worker's."""
        ...

    async def settle(self, settlements: Sequence[Settlement], /) -> Sequence[bool]:
        """End claims; for each whether it still was this worker's.

        A message stays its worker's beyond the end of the lease, until it is handed out again: work that is
        done need not be done twice. A claim is ended once: a repeat changes nothing, and answers False unless
        the store remembers that this very claim was settled so before.
        """
        ...

    async def depth(self) -> QueueDepth:
        """How much there is."""
        ...

    async def withdraw(self, ids: Sequence[str], /) -> Sequence[bool]:
        """Take out messages that wait; for each whether it was there and no worker has it. With "unique"."""
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


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DeadLettersDropped(Notice):
    """Parked messages of the queue `name` were kept for `parked_keep_s`, and are dropped now."""

    count: int


def check_messages(messages: Iterable[Message], settings: QueueSettings) -> None:
    """Raise `ValueError` where one of the messages is too large for the queue."""
    most = settings.payload_bytes_max
    for message in messages:
        if len(message.payload) > most:
            _refuse_payload(message.id, message.payload, most)


def check_claim(n: int, lease_s: float) -> None:
    """Raise `ValueError` for a claim that no queue can make."""
    whole("n", n, 0)
    check_extension(lease_s)


def check_extension(lease_s: float) -> None:
    """Raise `ValueError` for a lease that no queue can give."""
    number("lease_s", lease_s, 0.001, LEASE_S_MAX)


def check_settlements(settlements: Iterable[Settlement], settings: QueueSettings) -> None:
    """Raise `ValueError` or TypeError where one of the settlements cannot be made."""
    for each in settlements:
        if isinstance(each, Requeue):
            number("after_s", each.after_s, 0.0, DELAY_S_MAX)
            if each.payload is not None:
                _check_bytes(each.payload)
                if len(each.payload) > settings.payload_bytes_max:
                    _refuse_payload(each.claimed.id, each.payload, settings.payload_bytes_max)
            if each.headers:
                _check_headers(each.headers)
        elif not isinstance(each, (Complete, Park)):
            raise TypeError(f"settle takes Complete, Requeue and Park, got {each!r}")


def kept_reason(reason: str) -> str:
    """What is stored of the reason of a `Park`: text of a bounded length that every database takes."""
    return reason[:REASON_CHARS_MAX].encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _check_bytes(payload: object) -> None:
    if not isinstance(payload, bytes):
        raise TypeError(f"the payload of a message must be bytes, got {type(payload).__name__}")


def _refuse_payload(name: str, payload: bytes, most: int) -> None:
    raise ValueError(f"the payload of message {name[:60]!r} must be at most {most} bytes, got {len(payload)}")


def _check_headers(headers: Mapping[str, str]) -> None:
    size = 0
    for name, value in headers.items():
        for text in (name, value):
            if not isinstance(text, str):
                raise TypeError(f"headers are texts, got {text!r}")
            try:
                size += len(text.encode())
            except UnicodeEncodeError:
                raise ValueError(f"a header must be text, got half a character in {text[:60]!r}") from None
    if size > HEADERS_BYTES_MAX:
        raise ValueError(f"the headers of a message must be at most {HEADERS_BYTES_MAX} bytes, got {size}")
