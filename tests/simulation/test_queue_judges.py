"""The judge of the queue's world is seen to find bugs that were planted for it."""

from __future__ import annotations

from typing import Any

import pytest

from sdpatterns.backends.memory.messages.kept import PARKED, KeptMessage
from sdpatterns.backends.memory.messages.ready import Ready
from sdpatterns.backends.memory.queue import MemoryQueue
from sdpatterns.ports.queue import Claims, Requeue
from sdpatterns.testing.simulation.queue import QueueWorld
from tests.simulation.test_judges import complaints


def found(wanted: str) -> bool:
    return bool(complaints(QueueWorld(), wanted))


def test_a_settle_without_its_fence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lenient(self: MemoryQueue, claimed: Any) -> KeptMessage | None:
        kept = self._messages.get(claimed.id)
        return kept if kept is not None and kept.held else None

    monkeypatch.setattr(MemoryQueue, "_held", lenient)
    assert found("settle answered True for a claim on")
    assert found("extend answered True for a claim on")


def test_a_claim_that_stands_after_it_was_given_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = MemoryQueue._requeue

    def forgetful(self: MemoryQueue, kept: KeptMessage, how: Requeue, now_us: int) -> None:
        usual(self, kept, how, now_us)
        kept.held = True

    monkeypatch.setattr(MemoryQueue, "_requeue", forgetful)
    assert found("settle answered True for a claim on")


def test_two_messages_of_a_key_at_once_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryQueue, "_line_up", MemoryQueue._offer)
    monkeypatch.setattr(MemoryQueue, "_next_of", lambda *_: None)
    assert found("which is ahead of it in their key")


def test_a_key_that_goes_on_before_its_first_is_settled_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = MemoryQueue._requeue

    def hasty(self: MemoryQueue, kept: KeptMessage, how: Requeue, now_us: int) -> None:
        usual(self, kept, how, now_us)
        if kept.key is not None and self._behind.get(kept.key):
            self._next_of(kept.key, now_us)

    monkeypatch.setattr(MemoryQueue, "_requeue", hasty)
    assert found("which is ahead of it in their key")


def test_a_lease_that_ends_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = KeptMessage.lease

    def short(self: KeptMessage, fence: int, until_us: int) -> Any:
        claimed = usual(self, fence, until_us)
        return claimed._replace(leased_until_us=until_us + 500_000)

    monkeypatch.setattr(KeptMessage, "lease", short)
    assert found("before the end of its lease")


def test_a_delay_that_is_not_waited_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryQueue, "_offer", lambda self, kept, now_us: self._ready.put(kept, now_us))
    assert found("before the end of its delay")


def test_a_fence_that_does_not_grow_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = KeptMessage.lease

    def same(self: KeptMessage, fence: int, until_us: int) -> Any:
        return usual(self, 7, until_us)

    monkeypatch.setattr(KeptMessage, "lease", same)
    assert found("went from 7 to 7")


def test_an_attempt_that_is_counted_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = MemoryQueue._requeue

    def counting(self: MemoryQueue, kept: KeptMessage, how: Requeue, now_us: int) -> None:
        usual(self, kept, how._replace(counts=True), now_us)

    monkeypatch.setattr(MemoryQueue, "_requeue", counting)
    assert found("came after attempt")


def test_a_publish_that_is_lost_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryQueue, "_publish", lambda self, message, now_us: False)
    assert found("was published, and never was in the queue")


def test_a_message_that_is_stranded_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryQueue, "_next_of", lambda self, key, now_us: None)
    assert found("were never handed out again")


def test_a_lease_that_ends_unnoticed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def dull(self: MemoryQueue, now_us: int) -> float | None:
        return 0.0 if self._ready.count else None

    monkeypatch.setattr(MemoryQueue, "_due_in_s", dull)
    assert found("were never handed out again")


def test_a_letter_that_is_counted_as_waiting_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = MemoryQueue.depth

    async def wrong(self: MemoryQueue) -> Any:
        depth = await usual(self)
        parked = sum(kept.state == PARKED for kept in self._messages.values())
        return depth._replace(waiting=depth.waiting + parked, parked=0)

    monkeypatch.setattr(MemoryQueue, "depth", wrong)
    assert found("when all is done")


def test_a_message_that_is_out_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = MemoryQueue.claim

    async def twice(self: MemoryQueue, n: int, lease_s: float, /) -> Claims:
        claims = await usual(self, n, lease_s)
        for claimed in claims.messages[:1]:
            kept = self._messages[claimed.id]
            self._move(kept)
            self._ready.put(kept, self._last_us)
        return claims

    monkeypatch.setattr(MemoryQueue, "claim", twice)
    assert found("before the end of its lease")


def test_the_order_of_tenants_is_no_matter_of_this_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Ready.take

    def backwards(self: Ready, most: int) -> list[KeptMessage]:
        return usual(self, most)[::-1]

    monkeypatch.setattr(Ready, "take", backwards)
    assert not complaints(QueueWorld(), "", seeds=20)
