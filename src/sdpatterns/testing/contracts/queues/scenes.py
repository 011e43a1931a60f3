"""What the scenes about queues share: scenes with a queue, messages, and a worker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import pytest

from sdpatterns.core.forks import new_lock
from sdpatterns.core.runtime import current
from sdpatterns.ports.queue import Capability, Claimed, Complete, Message, MessageQueue, Settlement
from sdpatterns.ports.signals import SignalBus
from sdpatterns.testing.contracts.stage import BackendContract, Stage, scene
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = [
    "LEASE_S", "WorkRecord", "claim_each", "claim_one", "complete", "message", "numbered", "pause", "payloads_of",
    "publish", "queue_scene", "settle_one", "skip_without", "take_all", "work",
]  # fmt: skip

LEASE_S = 600.0
"""A lease that outlives its scene, unless the scene shifts the store's time."""
_IDLE_S = 0.05
_IDLE_ROUNDS_MAX = 1_200

C = TypeVar("C", bound=BackendContract)


def skip_without(queue: MessageQueue, *capabilities: Capability) -> None:
    """Leave the scene where the queue declares that it lacks something."""
    missing = [each for each in capabilities if each not in queue.capabilities]
    if missing:
        pytest.skip(f"this queue offers no {', '.join(missing)}")


def queue_scene(
    *capabilities: Capability,
) -> Callable[[Callable[[C, Stage, MessageQueue], Coroutine[Any, Any, None]]], Callable[[C], None]]:
    """A test function that plays the coroutine with a queue of its own, which has these capabilities."""

    def decorate(play: Callable[[C, Stage, MessageQueue], Coroutine[Any, Any, None]]) -> Callable[[C], None]:
        async def on(self: C, stage: Stage) -> None:
            queue = stage.queue()
            skip_without(queue, *capabilities)
            await play(self, stage, queue)

        on.__name__ = getattr(play, "__name__", "test")
        on.__qualname__ = getattr(play, "__qualname__", "test")
        on.__doc__ = play.__doc__
        return scene(on)

    return decorate


def message(name: str, **words: Any) -> Message:
    """A message whose payload is its id."""
    return Message(**{"id": name, "payload": name.encode(), **words})


def numbered(count: int, prefix: str = "m", **words: Any) -> list[Message]:
    """Messages m0, m1 and so on."""
    return [message(f"{prefix}{number}", **words) for number in range(count)]


async def publish(queue: MessageQueue, *names: str, **words: Any) -> None:
    """Publish new messages of these ids, in one call."""
    added = await queue.publish([message(name, **words) for name in names])
    assert_same(added, [True] * len(names))


async def claim_each(queue: MessageQueue, n: int, lease_s: float = LEASE_S) -> list[str]:
    """The ids that a claim gives, in its order."""
    return [claimed.id for claimed in (await queue.claim(n, lease_s)).messages]


async def claim_one(queue: MessageQueue, lease_s: float = LEASE_S) -> Claimed:
    """The one message that is due next."""
    messages = (await queue.claim(1, lease_s)).messages
    assert len(messages) == 1, f"{len(messages)} messages in place of the one that is due"
    return messages[0]


async def settle_one(queue: MessageQueue, settlement: Settlement) -> bool:
    """Settle one claim."""
    [answer] = await queue.settle([settlement])
    return answer


async def complete(queue: MessageQueue, *claims: Claimed) -> None:
    """End claims that stand."""
    assert_same(await queue.settle([Complete(claimed) for claimed in claims]), [True] * len(claims))


async def take_all(queue: MessageQueue, n: int = 100) -> list[str]:
    """Claim and complete, until nothing is due."""
    taken: list[str] = []
    while True:
        messages = (await queue.claim(n, LEASE_S)).messages
        if not messages:
            return taken
        await complete(queue, *messages)
        taken.extend(each.id for each in messages)


async def pause() -> None:
    """Let others run."""
    await current().sleep(0)


def payloads_of(claims: Iterable[Claimed]) -> list[bytes]:
    """Their payloads."""
    return [each.payload for each in claims]


class WorkRecord:
    """What several workers did with one queue. It sees where a message or a key is out twice."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done: list[str] = []
        self.by_key: dict[str | None, list[str]] = defaultdict(list)
        self.faults: list[str] = []
        self._out: dict[str, Claimed] = {}
        self._keys: set[str] = set()
        self._lock = new_lock()

    @property
    def is_complete(self) -> bool:
        """Whether all has been done."""
        return len(self.done) >= self.total

    def take(self, claims: Sequence[Claimed]) -> None:
        """Note what one worker was given."""
        with self._lock:
            for claimed in claims:
                if claimed.id in self._out:
                    self.faults.append(f"{claimed.id} is out twice")
                if claimed.key is not None and claimed.key in self._keys:
                    self.faults.append(f"{claimed.id} is out together with another message of key {claimed.key!r}")
                self._out[claimed.id] = claimed
                if claimed.key is not None:
                    self._keys.add(claimed.key)

    def end(self, claims: Sequence[Claimed]) -> None:
        """Note that it is about to be completed."""
        with self._lock:
            for claimed in claims:
                self._out.pop(claimed.id, None)
                if claimed.key is not None:
                    self._keys.discard(claimed.key)
                self.done.append(claimed.id)
                self.by_key[claimed.key].append(claimed.id)

    def judge(self) -> None:
        """Fail with the first fault."""
        assert not self.faults, f"{len(self.faults)} times a message was handed out wrongly; first: {self.faults[0]}"
        repeated = len(self.done) - len(set(self.done))
        assert not repeated, f"{repeated} messages were handed out again though they were completed"
        missing = self.total - len(self.done)
        assert not missing, f"{missing} of {self.total} messages were never handed out"


async def work(
    queue: MessageQueue, signals: SignalBus, record: WorkRecord, n: int, *, between: Callable[[], Awaitable[object]]
) -> None:
    """A worker: claims up to `n`, does something in between, completes, until everything is done."""
    async with signals.subscribe(queue.topic) as subscription:
        for _ in range(_IDLE_ROUNDS_MAX):
            while messages := (await queue.claim(n, LEASE_S)).messages:
                record.take(messages)
                await between()
                record.end(messages)
                answers = await queue.settle([Complete(claimed) for claimed in messages])
                lost = [claimed.id for claimed, is_mine in zip(messages, answers, strict=True) if not is_mine]
                record.faults.extend(f"{name} was completed by its worker, and the answer was no" for name in lost)
            if record.is_complete:
                return
            await subscription.wait(_IDLE_S)
