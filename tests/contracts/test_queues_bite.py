"""The contracts of queues: each is seen to fail on a queue that breaks the promise it is about."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar, Self

import pytest

from sdpatterns.backends.memory import MemorySignals, MemoryStates
from sdpatterns.errors import BackendFull
from sdpatterns.ports.queue import (
    Claimed,
    Claims,
    Complete,
    Message,
    Parked,
    QueueDepth,
    QueueSettings,
    Requeue,
    check_messages,
)
from sdpatterns.testing.contracts import (
    BackendContract,
    BackendUnderTest,
    BoundedQueueContract,
    CancelledQueueContract,
    MessageQueueContract,
    OpenTransaction,
    SharedQueueContract,
    TransactionalQueueContract,
)
from sdpatterns.testing.faults import SteppedClock
from tests.contracts.test_contracts_bite import LONGEST_COMPLAINT, scenes
from tests.naive_queue import NaiveQueue, Row


class NaiveBackend:
    """Queues of one kind, in one process."""

    kind: ClassVar[type[NaiveQueue]] = NaiveQueue

    def __init__(self) -> None:
        self.clock = SteppedClock()
        self.signals = MemorySignals()
        self.states = MemoryStates(clock=self.clock, signals=self.signals)
        self.queues: dict[str, NaiveQueue] = {}

    def queue(self, name: str, /, settings: QueueSettings | None = None) -> NaiveQueue:
        if name not in self.queues:
            settings = QueueSettings() if settings is None else settings
            self.queues[name] = self.kind(name, settings, self.clock.now_us, self.signals.wake)
        return self.queues[name]

    async def create(self) -> None:
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def shift(self, seconds: float) -> None:
        self.clock.step(seconds)


class NaiveTransaction:
    """Keeps what is published until the commit. It takes its numbers then, so that they follow the commits."""

    def __init__(self, backend: Any) -> None:
        self.backend, self.is_open = backend, True
        self.sent: list[tuple[NaiveQueue, Message]] = []
        self.ended: list[tuple[NaiveQueue, Any]] = []

    @property
    def ports(self) -> Any:
        return self

    def queue(self, name: str, /, settings: QueueSettings | None = None) -> Any:
        return QueueWithin(self, self.backend.queue(name, settings))

    async def commit(self) -> None:
        for queue, message in self.sent:
            queue.add(message)
        for queue, settlement in self.ended:
            queue.end(settlement)
        self.backend.signals.wake({queue.topic for queue, _ in [*self.sent, *self.ended]})

    async def rollback(self) -> None:
        self.sent, self.ended = [], []


class QueueWithin:
    def __init__(self, transaction: NaiveTransaction, queue: NaiveQueue) -> None:
        self.transaction, self.inner = transaction, queue

    async def publish(self, messages: Sequence[Message], /) -> list[bool]:
        check_messages(messages, self.inner.settings)
        added = []
        for message in messages:
            known = {sent.id for _, sent in self.transaction.sent}
            added.append(message.id not in known and self.inner.find(message.id) is None)
            if added[-1]:
                self.transaction.sent.append((self.inner, message))
        return added

    async def settle(self, settlements: Sequence[Any], /) -> list[bool]:
        self.transaction.ended += [(self.inner, settlement) for settlement in settlements]
        return [self.inner.held(settlement.claimed) is not None for settlement in settlements]


class Transactional(TransactionalQueueContract):
    transaction_kind: ClassVar[type[NaiveTransaction]] = NaiveTransaction

    def transaction(self, backend: BackendUnderTest, /) -> AbstractAsyncContextManager[OpenTransaction]:
        @asynccontextmanager
        async def begun() -> AsyncIterator[OpenTransaction]:
            yield self.transaction_kind(backend)

        return begun()


class TransactionalQueue(NaiveQueue):
    capabilities = NaiveQueue.capabilities | {"transaction"}


def complaint(contract: type[BackendContract], name: str, kind: type[NaiveQueue]) -> str:
    """What one scene of a contract says of a queue; nothing when it is content."""
    shared = type("Backend", (NaiveBackend,), {"kind": kind})()
    subject = type("Subject", (contract,), {"build": lambda _: shared})()
    try:
        getattr(subject, name)()
    except (AssertionError, pytest.fail.Exception, BackendFull) as found:
        return repr(found)
    return ""


SOUND: list[tuple[type[BackendContract], type[NaiveQueue]]] = [
    (MessageQueueContract, NaiveQueue),
    (CancelledQueueContract, NaiveQueue),
    (BoundedQueueContract, NaiveQueue),
    (SharedQueueContract, NaiveQueue),
    (Transactional, TransactionalQueue),
]


@pytest.mark.parametrize(
    ("contract", "kind", "name"), [(contract, kind, name) for contract, kind in SOUND for name in scenes(contract)]
)
def test_a_naive_sound_queue_passes(contract: type[BackendContract], kind: type[NaiveQueue], name: str) -> None:
    assert complaint(contract, name, kind) == ""


def test_scenes_about_what_a_queue_lacks_are_skipped() -> None:
    poor = type("Poor", (NaiveQueue,), {"capabilities": frozenset()})
    with pytest.raises(pytest.skip.Exception, match="no fence"):
        complaint(MessageQueueContract, "test_the_fence_grows_with_each_claim", poor)
    assert complaint(MessageQueueContract, "test_any_bytes_are_a_payload", poor) == ""


def test_a_transaction_has_to_be_given() -> None:
    with pytest.raises(NotImplementedError):
        complaint(TransactionalQueueContract, "test_a_rollback_leaves_nothing", TransactionalQueue)


# Faults. Each is a queue that breaks one promise.


class TornClaim(NaiveQueue):
    async def claim(self, n: int, lease_s: float, /) -> Claims:
        rows = self.in_turn(self.due(), n)
        await asyncio.sleep(0)
        return Claims([self.lease(row, lease_s) for row in rows], self.due_in_s())


class NoKeys(NaiveQueue):
    def is_first(self, row: Row) -> bool:
        return True


class EarliestOfKeyThatIsIn(NaiveQueue):
    """What SKIP LOCKED alone gives: who skips the first message of a key takes its second."""

    def is_first(self, row: Row) -> bool:
        key = row.message.key
        others = [other for other in self.rows if other.message.key == key and not other.position]
        return key is None or row is next((other for other in others if not self.is_out(other)), None)


class EmptyKeyIsNone(NaiveQueue):
    def key_of(self, row: Row) -> str | None:
        return row.message.key or None


class KeysWithoutCase(NaiveQueue):
    def key_of(self, row: Row) -> str | None:
        return None if row.message.key is None else row.message.key.lower()


class KeysThatHoldNothingUp(NaiveQueue):
    """A key whose first message is delayed offers its second."""

    def is_first(self, row: Row) -> bool:
        waits = [each for each in self.rows if each.due_us > self.now_us() and not each.is_held]
        return NaiveQueue.is_first(self, row) or any(
            self.key_of(each) == self.key_of(row) and NaiveQueue.is_first(self, each) for each in waits
        )


class ParkedHoldTheirKey(NaiveQueue):
    def is_first(self, row: Row) -> bool:
        same = (other for other in self.rows if self.key_of(other) == self.key_of(row))
        return self.key_of(row) is None or row is next(same)


class NoFence(NaiveQueue):
    def held(self, claimed: Claimed) -> Row | None:
        row = self.find(claimed.id)
        return row if row is not None and row.is_held else None


class EndsWithItsLease(NaiveQueue):
    """Work that is done after the end of its lease is done once more."""

    def held(self, claimed: Claimed) -> Row | None:
        row = NaiveQueue.held(self, claimed)
        return row if row is not None and self.is_out(row) else None


class NoFenceOnExtend(NaiveQueue):
    def prolong(self, claimed: Claimed, lease_s: float) -> bool:
        row = self.find(claimed.id)
        return row is not None and NaiveQueue.prolong(self, claimed._replace(fence=row.fence), lease_s)


class SameFence(NaiveQueue):
    def lease(self, row: Row, lease_s: float) -> Claimed:
        self.fences = -1
        return NaiveQueue.lease(self, row, lease_s)._replace(fence=row.number)


class FenceOfTheClock(NaiveQueue):
    def lease(self, row: Row, lease_s: float) -> Claimed:
        claimed = NaiveQueue.lease(self, row, lease_s)
        row.fence = self.fences = self.now_us() // 1_000_000_000
        return claimed._replace(fence=row.fence)


class FenceStartsAgain(NaiveQueue):
    def lease(self, row: Row, lease_s: float) -> Claimed:
        self.fences = row.attempt - self.now_us() * 0
        claimed = NaiveQueue.lease(self, row, lease_s)
        row.fence = row.attempt
        return claimed._replace(fence=row.fence)


class LateUntilTheNextClaimOnly(NaiveQueue):
    """A message that is given back stays its worker's: heartbeats move it, repeats count twice."""

    def end(self, settlement: Any) -> bool:
        answer = NaiveQueue.end(self, settlement)
        row = self.find(settlement.claimed.id)
        if answer and row is not None and isinstance(settlement, Requeue):
            row.is_held = True
        return answer

    def is_out(self, row: Row) -> bool:
        return False


class LosesWhatIsNotSettled(NaiveQueue):
    def lease(self, row: Row, lease_s: float) -> Claimed:
        return NaiveQueue.lease(self, row, 1e9)


class AttemptsOfOne(NaiveQueue):
    def lease(self, row: Row, lease_s: float) -> Claimed:
        row.attempt = 0
        return NaiveQueue.lease(self, row, lease_s)


class CountsAll(NaiveQueue):
    def give_back(self, row: Row, how: Requeue) -> None:
        NaiveQueue.give_back(self, row, how._replace(counts=True))


class KeepsThePayload(NaiveQueue):
    def give_back(self, row: Row, how: Requeue) -> None:
        NaiveQueue.give_back(self, row, how._replace(payload=None))


class EmptyMeansUnchanged(NaiveQueue):
    def give_back(self, row: Row, how: Requeue) -> None:
        NaiveQueue.give_back(self, row, how._replace(payload=how.payload or None, headers=how.headers or None))


class ReturnsAtOnce(NaiveQueue):
    def give_back(self, row: Row, how: Requeue) -> None:
        NaiveQueue.give_back(self, row, how._replace(after_s=0.0))


class ReturnsToTheEnd(NaiveQueue):
    def give_back(self, row: Row, how: Requeue) -> None:
        NaiveQueue.give_back(self, row, how)
        self.rows.remove(row)
        self.rows.append(row)


class ExtendsNothing(NaiveQueue):
    def prolong(self, claimed: Claimed, lease_s: float) -> bool:
        return self.held(claimed) is not None


class ExtendsAll(NaiveQueue):
    def prolong(self, claimed: Claimed, lease_s: float) -> bool:
        for row in self.rows:
            row.due_us = max(row.due_us, self.now_us() + int(lease_s * 1e6))
        return NaiveQueue.prolong(self, claimed, lease_s)


class NoDelay(NaiveQueue):
    def new_row(self, message: Message) -> Row:
        return NaiveQueue.new_row(self, dataclasses.replace(message, delay_s=0.0))


class RankIsDelay(NaiveQueue):
    def new_row(self, message: Message) -> Row:
        row = NaiveQueue.new_row(self, message)
        row.due_us += int(message.rank_s * 1e6)
        return row


class NoFairShare(NaiveQueue):
    def in_turn(self, rows: list[Row], n: int) -> list[Row]:
        return sorted(rows, key=lambda row: (row.rank_us, row.number))[:n]


class FairInABatchOnly(NaiveQueue):
    def in_turn(self, rows: list[Row], n: int) -> list[Row]:
        self.served = []
        return NaiveQueue.in_turn(self, rows, n)


class LastComesFirst(NaiveQueue):
    rank_of = staticmethod(lambda row: -row.number)


class NoRank(NaiveQueue):
    rank_of = staticmethod(lambda row: row.due_us)


class RankWithoutAging(NaiveQueue):
    rank_of = staticmethod(lambda row: row.message.rank_s)


class NothingIsUnique(NaiveQueue):
    def add(self, message: Message) -> bool:
        self.rows.append(self.new_row(message))
        return True


class RemembersIds(NaiveQueue):
    def add(self, message: Message) -> bool:
        seen = self.__dict__.setdefault("seen", set())
        if message.id in seen and not message.replace:
            return False
        seen.add(message.id)
        return NaiveQueue.add(self, message)


class ReplacesAlways(NaiveQueue):
    def add(self, message: Message) -> bool:
        return NaiveQueue.add(self, dataclasses.replace(message, replace=True))


class ReplacesNever(NaiveQueue):
    def add(self, message: Message) -> bool:
        return NaiveQueue.add(self, dataclasses.replace(message, replace=False))


class ReplacesWhatIsOut(NaiveQueue):
    def add(self, message: Message) -> bool:
        row = self.find(message.id)
        if row is not None and message.replace:
            self.rows.remove(row)
        return NaiveQueue.add(self, message)


class ReplacesInPlace(NaiveQueue):
    def add(self, message: Message) -> bool:
        row = self.find(message.id)
        if row is None or not message.replace or self.is_out(row):
            return NaiveQueue.add(self, message)
        row.payload, row.message = message.payload, message
        return True


class AnswersYes(NaiveQueue):
    async def publish(self, messages: Sequence[Message], /) -> list[bool]:
        return [True for _ in await NaiveQueue.publish(self, messages)]


class OneByOne(NaiveQueue):
    async def publish(self, messages: Sequence[Message], /) -> list[bool]:
        added = []
        for message in messages:
            added += await NaiveQueue.publish(self, [message])
            await asyncio.sleep(0)
        return added


class FullInTheMiddle(NaiveQueue):
    async def publish(self, messages: Sequence[Message], /) -> list[bool]:
        check_messages(messages, self.settings)
        return [self.add(message) for message in messages]


class NoBound(NaiveQueue):
    def add(self, message: Message) -> bool:
        self.settings = dataclasses.replace(self.settings, messages_max=10**9)
        return NaiveQueue.add(self, message)


class CountsRepeats(NaiveQueue):
    async def publish(self, messages: Sequence[Message], /) -> list[bool]:
        if len(self.rows) + len(messages) > self.settings.messages_max:
            raise BackendFull
        return await NaiveQueue.publish(self, messages)


class PayloadsAsText(NaiveQueue):
    def new_row(self, message: Message) -> Row:
        row = NaiveQueue.new_row(self, message)
        row.payload = message.payload.decode("latin-1").strip().encode("latin-1")
        return row


class NoHeaders(NaiveQueue):
    def new_row(self, message: Message) -> Row:
        return NaiveQueue.new_row(self, dataclasses.replace(message, headers={}))


class IdsWithoutCase(NaiveQueue):
    def find(self, name: str) -> Row | None:
        return next((row for row in self.rows_now() if row.message.id.lower() == name.lower()), None)


class WithdrawsWhatIsOut(NaiveQueue):
    async def withdraw(self, ids: Sequence[str], /) -> list[bool]:
        return [self.drop(name, lambda row: not row.position) for name in ids]


class WithdrawsLetters(NaiveQueue):
    async def withdraw(self, ids: Sequence[str], /) -> list[bool]:
        return [self.drop(name, lambda row: not self.is_out(row)) for name in ids]


class RedrivesToTheFront(NaiveQueue):
    def revive(self, row: Row) -> None:
        NaiveQueue.revive(self, row)
        self.rows.remove(row)
        self.rows.insert(0, row)


class RedrivesWithItsAttempts(NaiveQueue):
    def revive(self, row: Row) -> None:
        attempt = row.attempt
        NaiveQueue.revive(self, row)
        row.attempt = attempt


class KeepsLettersForever(NaiveQueue):
    def rows_now(self) -> list[Row]:
        return self.rows


class PagesByNumber(NaiveQueue):
    """A position is a place in the list, so that pages move when letters go."""

    async def parked(self, limit: int, after: int = 0, /) -> list[Parked]:
        letters = await NaiveQueue.parked(self, 10**9)
        return [letter._replace(position=place) for place, letter in enumerate(letters, 1)][after : after + limit]


class ReasonsOfAnyLength(NaiveQueue):
    def park(self, row: Row, how: Any) -> None:
        NaiveQueue.park(self, row, how)
        row.reason = how.reason


class CountsEndedLeases(NaiveQueue):
    async def depth(self) -> QueueDepth:
        depth = await NaiveQueue.depth(self)
        over = sum(row.is_held and not self.is_out(row) for row in self.rows)
        return depth._replace(due=depth.due - over, leased=depth.leased + over)


class CountsThoseBehind(NaiveQueue):
    async def depth(self) -> QueueDepth:
        depth = await NaiveQueue.depth(self)
        return depth._replace(due=depth.due + depth.waiting, waiting=0)


class NoLag(NaiveQueue):
    async def depth(self) -> QueueDepth:
        return (await NaiveQueue.depth(self))._replace(lag_s=0.0)


class KnowsDelaysOnly(NaiveQueue):
    def due_in_s(self) -> float | None:
        waiting = [row.due_us for row in self.rows if not row.is_held]
        return max(0.0, (min(waiting) - self.now_us()) / 1e6) if waiting else None


class KnowsTheLastDelay(NaiveQueue):
    def due_in_s(self) -> float | None:
        waiting = [row.due_us for row in self.rows]
        return max(0.0, (max(waiting) - self.now_us()) / 1e6) if waiting else None


class Silent(NaiveQueue):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ring = lambda topics: None


class SilentOnSettle(NaiveQueue):
    async def settle(self, settlements: Sequence[Any], /) -> list[bool]:
        return [self.end(settlement) for settlement in settlements]


class SilentOnRedrive(Silent):
    async def publish(self, messages: Sequence[Message], /) -> list[bool]:
        return await NaiveQueue.publish(self, messages)


class RingsFirst(NaiveQueue):
    async def publish(self, messages: Sequence[Message], /) -> list[bool]:
        self.ring([self.topic])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ring, self.ring = self.ring, lambda topics: None
        try:
            return await NaiveQueue.publish(self, messages)
        finally:
            self.ring = ring


class TornSettle(NaiveQueue):
    async def settle(self, settlements: Sequence[Any], /) -> list[bool]:
        rows = [self.held(each.claimed) for each in settlements]
        await asyncio.sleep(0)
        for row, each in zip(rows, settlements, strict=True):
            if row in self.rows and isinstance(each, Complete):
                self.rows.remove(row)
        return [row is not None for row in rows]


BUGS: dict[type[NaiveQueue], tuple[str, ...]] = {
    TornClaim: ("never_share_a_message", "do_everything_once"),
    NoKeys: ("one_at_a_time", "keep_the_order_of_each_key", "get_one_message_of_a_key"),
    EarliestOfKeyThatIsIn: ("one_at_a_time", "get_one_message_of_a_key"),
    EmptyKeyIsNone: ("messages_without_one_go_on",),
    KeysWithoutCase: ("keys_that_look_alike",),
    KeysThatHoldNothingUp: ("holds_up_those_behind_it", "is_given_back_keeps_its_place"),
    ParkedHoldTheirKey: ("parking_lets_the_next", "whose_key_is_free"),
    NoFence: ("finishes_late_changes_nothing", "the_next_message_of_its_id", "does_not_let_the_next_one"),
    EndsWithItsLease: ("another_claim_is_not_done_again", "on_a_key_that_ends_after_its_lease"),
    NoFenceOnExtend: ("finishes_late_changes_nothing", "extending_many"),
    SameFence: ("fence_grows_with_each_claim",),
    FenceOfTheClock: ("fence_grows_with_each_claim", "fence_grows_though"),
    FenceStartsAgain: ("comes_again_has_another_fence",),
    LateUntilTheNextClaimOnly: ("was_given_back_is_over", "not_to_count"),
    LosesWhatIsNotSettled: ("when_its_lease_is_over",),
    AttemptsOfOne: ("when_its_lease_is_over", "is_given_back_comes_again"),
    CountsAll: ("not_to_count",),
    KeepsThePayload: ("another_payload",),
    EmptyMeansUnchanged: ("another_payload",),
    ReturnsAtOnce: ("given_back_for_later",),
    ReturnsToTheEnd: ("is_given_back_keeps_its_place",),
    ExtendsNothing: ("extended_goes_on", "extended_lease_ends"),
    ExtendsAll: ("extended_goes_on",),
    NoDelay: ("waits_for_its_time", "delays_of_a_moment"),
    RankIsDelay: ("rank_is_a_head_start", "rank_makes_nothing_due"),
    NoFairShare: ("holds_up_no_other", "a_batch_is_shared"),
    FairInABatchOnly: ("claimed_at_a_time",),
    LastComesFirst: ("due_for_longer_comes_first",),
    NoRank: ("rank_is_a_head_start",),
    RankWithoutAging: ("overtaken_for_a_bounded_time",),
    NothingIsUnique: ("is_dropped_while", "reply_was_lost_may_be_repeated", "many_publishers_of_an_id"),
    RemembersIds: ("may_come_again_after", "comes_again_has_another_fence"),
    ReplacesAlways: ("is_dropped_while", "with_an_id_twice"),
    ReplacesNever: ("take_the_place", "with_an_id_twice"),
    ReplacesWhatIsOut: ("is_dropped_while",),
    ReplacesInPlace: ("take_the_place", "takes_a_place_stands_at_the_end", "starts_with_its_first"),
    AnswersYes: ("reply_was_lost_may_be_repeated", "many_publishers_of_an_id"),
    OneByOne: ("refused_with_all",),
    PayloadsAsText: ("any_bytes_are_a_payload",),
    NoHeaders: ("comes_out_as_it_went_in", "is_a_header"),
    IdsWithoutCase: ("is_an_id",),
    WithdrawsWhatIsOut: ("what_waits_may_be_withdrawn",),
    WithdrawsLetters: ("are_not_withdrawn",),
    RedrivesToTheFront: ("redriven_message_stands",),
    RedrivesWithItsAttempts: ("as_if_it_were_new",),
    KeepsLettersForever: ("kept_for_as_long", "many_letters_are_swept"),
    PagesByNumber: ("though_letters_have_gone",),
    ReasonsOfAnyLength: ("any_text_is_a_reason",),
    CountsEndedLeases: ("depth_agrees",),
    CountsThoseBehind: ("messages_without_one_go_on",),
    NoLag: ("the_lag_is",),
    KnowsDelaysOnly: ("lease_of_another_worker",),
    KnowsTheLastDelay: ("when_the_next_message_is_due",),
    Silent: ("publish_wakes", "given_back_wakes", "delayed_message_wakes", "finds_what_woke_it"),
    SilentOnSettle: ("given_back_wakes", "next_message_of_a_key_wakes"),
    SilentOnRedrive: ("redriven_message_wakes",),
    RingsFirst: ("finds_what_woke_it",),
    TornSettle: ("hold_one_claim_one_settles",),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    from sdpatterns.testing.contracts.queues import races, scenes, stored, transactions

    monkeypatch.setattr(races, "HEARD_WITHIN_S", 0.2)
    monkeypatch.setattr(stored, "HEARD_WITHIN_S", 0.2)
    monkeypatch.setattr(transactions, "HEARD_WITHIN_S", 0.2)
    monkeypatch.setattr(scenes, "_IDLE_ROUNDS_MAX", 5)


def caught(contract: type[BackendContract], part: str, kind: type[NaiveQueue]) -> None:
    [name] = [name for name in scenes(contract) if part in name]
    said = complaint(contract, name, kind)
    assert said != ""
    assert len(said) < LONGEST_COMPLAINT, "a list that pytest compares item by item takes minutes"


@pytest.mark.parametrize("kind", BUGS, ids=lambda kind: kind.__name__)
def test_a_broken_queue_fails(kind: type[NaiveQueue], impatient: None) -> None:
    for part in BUGS[kind]:
        caught(MessageQueueContract, part, kind)


OTHER_BUGS: list[tuple[type[BackendContract], str, type[NaiveQueue]]] = [
    (CancelledQueueContract, "adds_all_or_nothing", OneByOne),
    (CancelledQueueContract, "claim_took_comes_again", LosesWhatIsNotSettled),
    (BoundedQueueContract, "than_the_bound", NoBound),
    (BoundedQueueContract, "than_the_bound", FullInTheMiddle),
    (BoundedQueueContract, "needs_no_room", CountsRepeats),
    (BoundedQueueContract, "until_they_are_swept", KeepsLettersForever),
    (SharedQueueContract, "client_is_woken", Silent),
    (SharedQueueContract, "everything_once_and_in_order", NoKeys),
    (SharedQueueContract, "finishes_late", NoFence),
]


@pytest.mark.parametrize(("contract", "part", "kind"), OTHER_BUGS, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_queue_fails_the_other_contracts(
    contract: type[BackendContract], part: str, kind: type[NaiveQueue], impatient: None
) -> None:
    caught(contract, part, kind)


class CommitsAtOnce(NaiveTransaction):
    def queue(self, name: str, /, settings: QueueSettings | None = None) -> Any:
        return self.backend.queue(name, settings)


class CommitsWhenLeft(NaiveTransaction):
    async def rollback(self) -> None:
        await self.commit()


class CommitsSilently(NaiveTransaction):
    async def commit(self) -> None:
        self.backend.signals.wake = lambda topics: None
        await NaiveTransaction.commit(self)


class NumbersWhenPublished(NaiveTransaction):
    """A row takes its number when it is published, as a sequence gives it, and is seen at the commit."""

    def queue(self, name: str, /, settings: QueueSettings | None = None) -> Any:
        queue = self.backend.queue(name, settings)
        queue.numbers += 1
        self.number = queue.numbers
        return QueueWithin(self, queue)

    async def commit(self) -> None:
        for queue, message in self.sent:
            queue.add(message)
            queue.rows[-1].number = self.number
            queue.rows.sort(key=lambda row: row.number)


class LockedTenant(NaiveTransaction):
    """The second transaction waits for the first."""

    def queue(self, name: str, /, settings: QueueSettings | None = None) -> Any:
        lock = self.backend.__dict__.setdefault("lock", asyncio.Lock())
        within = QueueWithin(self, self.backend.queue(name, settings))
        publish = within.publish

        async def waits(messages: Sequence[Message], /) -> list[bool]:
            if not self.sent:
                await lock.acquire()
            return await publish(messages)

        within.publish = waits  # type: ignore[method-assign]
        return within

    async def commit(self) -> None:
        await NaiveTransaction.commit(self)
        self.backend.lock.release()


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ("after_the_commit_and_not_before", CommitsAtOnce),
        ("a_rollback_leaves_nothing", CommitsAtOnce),
        ("a_rollback_leaves_nothing", CommitsWhenLeft),
        ("left_without_a_commit", CommitsAtOnce),
        ("a_commit_wakes", CommitsSilently),
        ("settled_within_a_transaction", CommitsAtOnce),
        ("in_the_order_of_the_commits", NumbersWhenPublished),
        ("of_a_tenant_do_not_wait", LockedTenant),
        ("different_keys_do_not_wait", LockedTenant),
    ],
)
def test_a_broken_transaction_fails(part: str, kind: type[NaiveTransaction], impatient: None) -> None:
    caught(type("Broken", (Transactional,), {"transaction_kind": kind}), part, TransactionalQueue)
