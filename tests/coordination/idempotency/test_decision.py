"""The transitions, as values: a table of what each does to each state, and a naive oracle."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdpatterns.coordination.idempotency.decision import (
    ClaimResult,
    ClaimStatus,
    Record,
    RecordCodec,
    Release,
    Renew,
    Settle,
    TakeClaim,
)
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.errors import CodecError, UnknownVersion
from tests.steps import on_one

LEASE_US = 30_000_000
NOW = 1_700_000_000_000_000


def held(
    owner: str = "a", fence: int = NOW, until_us: int = NOW + LEASE_US, status: ClaimStatus = ClaimStatus.CLAIMED
) -> Record:
    return Record(status, fence, until_us, owner, "mark", b"" if status is ClaimStatus.CLAIMED else b"answer")


def test_a_free_key_is_taken_with_a_fence_of_the_stores_time() -> None:
    state, found, keep_s, wake = on_one(TakeClaim("a", "mark", LEASE_US), None, NOW)
    assert state == held()
    assert found == ClaimResult(ClaimStatus.CLAIMED, NOW, LEASE_US)
    assert keep_s == 60.0
    assert wake == ()


@pytest.mark.parametrize(
    ("state", "now_us", "status"),
    [
        pytest.param(held("b"), NOW + LEASE_US - 1, ClaimStatus.BUSY, id="somebody works"),
        pytest.param(held("b"), NOW + LEASE_US, ClaimStatus.CLAIMED, id="the lease is over"),
        pytest.param(held("a"), NOW + 1, ClaimStatus.CLAIMED, id="the same step once more"),
        pytest.param(held("b", status=ClaimStatus.DONE), NOW + 1, ClaimStatus.DONE, id="answered"),
        pytest.param(held("b", status=ClaimStatus.FAILED), NOW + 1, ClaimStatus.FAILED, id="answered with an error"),
        pytest.param(held("b", status=ClaimStatus.DONE), NOW + LEASE_US, ClaimStatus.CLAIMED, id="no longer kept"),
        pytest.param(
            held("b", status=ClaimStatus.FREE), NOW + 1, ClaimStatus.CLAIMED, id="released in the same moment"
        ),
    ],
)
def test_a_claim_finds(state: Record, now_us: int, status: ClaimStatus) -> None:
    assert on_one(TakeClaim("a", "mark", LEASE_US), state, now_us)[1].status is status


@pytest.mark.parametrize("status", [ClaimStatus.CLAIMED, ClaimStatus.DONE, ClaimStatus.FAILED])
def test_another_request_is_refused_whatever_became_of_the_first(status: ClaimStatus) -> None:
    step = on_one(TakeClaim("a", "another", LEASE_US), held("b", status=status), NOW + 1)
    assert step[0] is UNCHANGED
    assert step[1].status is ClaimStatus.REUSED
    assert step[1].answer == b""


def test_a_fence_grows_even_while_the_clock_stands() -> None:
    state, found, *_ = on_one(TakeClaim("a", "mark", LEASE_US), held("b", fence=NOW + 5, until_us=NOW), NOW)
    assert found.fence == NOW + 6
    assert isinstance(state, Record)
    released, was_held, keep_s, _ = on_one(Release("a", NOW + 6, "topic"), state, NOW)
    assert was_held
    assert isinstance(released, Record), "dropped now, the next fence would be smaller"
    assert keep_s > 0
    assert on_one(TakeClaim("c", "mark", LEASE_US), released, NOW)[1].fence == NOW + 7


def test_a_released_key_is_dropped_once_time_has_passed_its_fence() -> None:
    assert on_one(Release("a", NOW, "topic"), held("a"), NOW + 1) == (GONE, True, 0.0, ("topic",))


@pytest.mark.parametrize(
    ("owner", "fence", "status"),
    [
        ("b", NOW, ClaimStatus.CLAIMED),
        ("a", NOW - 1, ClaimStatus.CLAIMED),
        ("a", NOW, ClaimStatus.FREE),
        ("b", NOW, ClaimStatus.DONE),
    ],
)
def test_a_caller_that_does_not_hold_the_key_changes_nothing(owner: str, fence: int, status: ClaimStatus) -> None:
    state = held("a", status=status)
    for step in (
        Renew(owner, fence, LEASE_US),
        Settle(owner, fence, ClaimStatus.DONE, b"late", 60.0, "t"),
        Release(owner, fence, "t"),
    ):
        assert on_one(step, state, NOW + 1)[:2] == (UNCHANGED, False)
        assert on_one(step, None, NOW + 1)[:2] == (UNCHANGED, False)


def test_settling_twice_is_settling_once() -> None:
    settle = Settle("a", NOW, ClaimStatus.DONE, b"answer", 60.0, "topic")
    state, stored, keep_s, wake = on_one(settle, held("a"), NOW + 1)
    assert (stored, keep_s, wake) == (True, 60.0, ("topic",))
    assert isinstance(state, Record)
    assert on_one(settle, state, NOW + 2) == (UNCHANGED, True, 0.0, ())
    assert on_one(Release("a", NOW, "topic"), state, NOW + 3)[:2] == (UNCHANGED, False)


def test_a_renewal_never_shortens_a_lease() -> None:
    state, stands, *_ = on_one(Renew("a", NOW, LEASE_US), held("a", until_us=NOW + 2 * LEASE_US), NOW + 1)
    assert stands
    assert isinstance(state, Record)
    assert state.until_us == NOW + 2 * LEASE_US


def test_only_its_owner_releases_a_claim_with_a_lost_reply() -> None:
    assert on_one(Release("a", 0, "t"), held("a"), NOW + 1)[1] is True
    assert on_one(Release("b", 0, "t"), held("a"), NOW + 1)[1] is False


@dataclasses.dataclass
class Oracle:
    """The promise in plain words: who holds the key until when, and what was answered."""

    holder: str | None = None
    until: int = 0
    answer: bytes | None = None

    def age(self, now: int) -> None:
        if now >= self.until:
            self.holder, self.answer = None, None

    def take(self, owner: str, now: int) -> str:
        self.age(now)
        if self.answer is not None:
            return "done"
        if self.holder not in {None, owner}:
            return "busy"
        if self.holder is None:
            self.holder, self.until = owner, now + LEASE_US
        return "claimed"


class History:
    """One key's life under random steps, each compared with the oracle."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.state: Record | None = None
        self.oracle = Oracle()
        self.now = NOW
        self.fence_of = dict.fromkeys("abc", 0)

    def apply(self, step: Any) -> Any:
        if step[0] is GONE:
            self.state = None
        elif step[0] is not UNCHANGED:
            self.state = RecordCodec().decode(RecordCodec().encode(step[0]))
        return step[1]

    def take(self, owner: str) -> None:
        found = self.apply(on_one(TakeClaim(owner, "mark", LEASE_US), self.state, self.now))
        assert found.status.name.lower() == self.oracle.take(owner, self.now)
        if found.status is ClaimStatus.CLAIMED and found.fence != self.fence_of[owner]:
            assert found.fence > max(self.fence_of.values())
            self.fence_of[owner] = found.fence

    def renew(self, owner: str) -> None:
        if self.apply(on_one(Renew(owner, self.fence_of[owner], LEASE_US), self.state, self.now)):
            assert self.oracle.answer is None
            assert self.fence_of[owner] == max(self.fence_of.values()), "only the newest claim may renew"
            self.oracle.holder, self.oracle.until = owner, max(self.oracle.until, self.now + LEASE_US)

    def settle(self, owner: str) -> None:
        before = self.state
        step = Settle(owner, self.fence_of[owner], ClaimStatus.DONE, owner.encode(), 40.0, "t")
        if (
            self.apply(on_one(step, self.state, self.now))
            and before is not None
            and before.status is ClaimStatus.CLAIMED
        ):
            assert before.fence == max(self.fence_of.values()), "only the newest claim may answer"
            self.oracle = Oracle(owner, self.now + 40_000_000, owner.encode())

    def release(self, owner: str) -> None:
        if self.apply(on_one(Release(owner, self.fence_of[owner], "t"), self.state, self.now)):
            assert self.fence_of[owner] == max(self.fence_of.values()), "only the newest claim may be released"
            self.oracle = Oracle()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_a_random_history_agrees_with_a_naive_oracle(seed: int) -> None:
    history = History(seed)
    for _ in range(60):
        history.now += history.chance.choice([0, 0, 1, 1000, LEASE_US // 2, LEASE_US])
        step = history.chance.choice([history.take, history.take, history.renew, history.settle, history.release])
        step(history.chance.choice("abc"))
    assert history.now >= NOW


@pytest.mark.parametrize("answer", [b"", b"plain", b"with spaces\nand \x00 bytes \xff"])
@pytest.mark.parametrize("status", list(ClaimStatus))
def test_a_record_survives_its_bytes(status: ClaimStatus, answer: bytes) -> None:
    record = Record(status, 2**60, NOW, "0f" * 16, "ab" * 20, answer)
    assert RecordCodec().decode(RecordCodec().encode(record)) == record


@pytest.mark.parametrize("data", [b"", b"1:", b"1:c 1 2 a", b"1:x 1 2 a m ", b"1:c one 2 a m ", b"c 1 2 a m "])
def test_bytes_that_are_no_record_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        RecordCodec().decode(data)


def test_a_newer_record_is_refused_and_not_guessed_at() -> None:
    with pytest.raises(UnknownVersion):
        RecordCodec().decode(b"2:c 1 2 a m ")
