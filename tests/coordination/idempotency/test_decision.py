"""The transitions, as values: a table of what each does to each state, and a naive oracle."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdpatterns.coordination.idempotency.decision import (
    Finding,
    Kind,
    Record,
    RecordCodec,
    Release,
    Renew,
    Settle,
    TakeClaim,
)
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.errors import CodecError, UnknownVersion

LEASE_US = 30_000_000
NOW = 1_700_000_000_000_000


def held(owner: str = "a", fence: int = NOW, until_us: int = NOW + LEASE_US, kind: Kind = Kind.CLAIMED) -> Record:
    return Record(kind, fence, until_us, owner, "mark", b"" if kind is Kind.CLAIMED else b"answer")


def test_a_free_key_is_taken_with_a_fence_of_the_stores_time() -> None:
    state, found, keep_s, wake = TakeClaim("a", "mark", LEASE_US)(None, NOW)
    assert state == held()
    assert found == Finding(Kind.CLAIMED, NOW, LEASE_US)
    assert keep_s == 60.0
    assert wake == ()


@pytest.mark.parametrize(
    ("state", "now_us", "kind"),
    [
        pytest.param(held("b"), NOW + LEASE_US - 1, Kind.BUSY, id="somebody works"),
        pytest.param(held("b"), NOW + LEASE_US, Kind.CLAIMED, id="the lease is over"),
        pytest.param(held("a"), NOW + 1, Kind.CLAIMED, id="the same step once more"),
        pytest.param(held("b", kind=Kind.DONE), NOW + 1, Kind.DONE, id="answered"),
        pytest.param(held("b", kind=Kind.FAILED), NOW + 1, Kind.FAILED, id="answered with an error"),
        pytest.param(held("b", kind=Kind.DONE), NOW + LEASE_US, Kind.CLAIMED, id="no longer kept"),
        pytest.param(held("b", kind=Kind.FREE), NOW + 1, Kind.CLAIMED, id="released in the same moment"),
    ],
)
def test_a_claim_finds(state: Record, now_us: int, kind: Kind) -> None:
    assert TakeClaim("a", "mark", LEASE_US)(state, now_us)[1].kind is kind


@pytest.mark.parametrize("kind", [Kind.CLAIMED, Kind.DONE, Kind.FAILED])
def test_another_request_is_refused_whatever_became_of_the_first(kind: Kind) -> None:
    step = TakeClaim("a", "another", LEASE_US)(held("b", kind=kind), NOW + 1)
    assert step[0] is UNCHANGED
    assert step[1].kind is Kind.REUSED
    assert step[1].answer == b""


def test_a_fence_grows_even_while_the_clock_stands() -> None:
    state, found, *_ = TakeClaim("a", "mark", LEASE_US)(held("b", fence=NOW + 5, until_us=NOW), NOW)
    assert found.fence == NOW + 6
    assert isinstance(state, Record)
    released, was_held, keep_s, _ = Release("a", NOW + 6, "topic")(state, NOW)
    assert was_held
    assert isinstance(released, Record), "dropped now, the next fence would be smaller"
    assert keep_s > 0
    assert TakeClaim("c", "mark", LEASE_US)(released, NOW)[1].fence == NOW + 7


def test_a_released_key_is_dropped_once_time_has_passed_its_fence() -> None:
    assert Release("a", NOW, "topic")(held("a"), NOW + 1) == (GONE, True, 0.0, ("topic",))


@pytest.mark.parametrize(
    ("owner", "fence", "kind"),
    [("b", NOW, Kind.CLAIMED), ("a", NOW - 1, Kind.CLAIMED), ("a", NOW, Kind.FREE), ("b", NOW, Kind.DONE)],
)
def test_whoever_does_not_hold_the_key_changes_nothing(owner: str, fence: int, kind: Kind) -> None:
    state = held("a", kind=kind)
    for step in (
        Renew(owner, fence, LEASE_US),
        Settle(owner, fence, Kind.DONE, b"late", 60.0, "t"),
        Release(owner, fence, "t"),
    ):
        assert step(state, NOW + 1)[:2] == (UNCHANGED, False)
        assert step(None, NOW + 1)[:2] == (UNCHANGED, False)


def test_settling_twice_is_settling_once() -> None:
    settle = Settle("a", NOW, Kind.DONE, b"answer", 60.0, "topic")
    state, stored, keep_s, wake = settle(held("a"), NOW + 1)
    assert (stored, keep_s, wake) == (True, 60.0, ("topic",))
    assert isinstance(state, Record)
    assert settle(state, NOW + 2) == (UNCHANGED, True, 0.0, ())
    assert Release("a", NOW, "topic")(state, NOW + 3)[:2] == (UNCHANGED, False)


def test_a_renewal_never_shortens_a_lease() -> None:
    state, stands, *_ = Renew("a", NOW, LEASE_US)(held("a", until_us=NOW + 2 * LEASE_US), NOW + 1)
    assert stands
    assert isinstance(state, Record)
    assert state.until_us == NOW + 2 * LEASE_US


def test_a_claim_whose_reply_was_lost_is_released_by_its_owner_alone() -> None:
    assert Release("a", 0, "t")(held("a"), NOW + 1)[1] is True
    assert Release("b", 0, "t")(held("a"), NOW + 1)[1] is False


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


@given(seed=st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_a_random_history_agrees_with_a_naive_oracle(seed: int) -> None:
    chance = random.Random(seed)
    state: Record | None = None
    oracle, now, fences, fence_of = Oracle(), NOW, [0], {"a": 0, "b": 0, "c": 0}

    def apply(step: tuple[object, ...]) -> object:
        nonlocal state
        if step[0] is GONE:
            state = None
        elif step[0] is not UNCHANGED:
            assert isinstance(step[0], Record)
            state = RecordCodec().decode(RecordCodec().encode(step[0]))
        return step[1]

    for _ in range(60):
        now += chance.choice([0, 0, 1, 1000, LEASE_US // 2, LEASE_US])
        owner = chance.choice("abc")
        match chance.choice(["take", "take", "renew", "settle", "release"]):
            case "take":
                found = apply(TakeClaim(owner, "mark", LEASE_US)(state, now))
                assert isinstance(found, Finding)
                assert found.kind.name.lower() == oracle.take(owner, now)
                if found.kind is Kind.CLAIMED and found.fence != fence_of[owner]:
                    assert found.fence > fences[-1]
                    fences.append(found.fence)
                    fence_of[owner] = found.fence
            case "renew":
                stands = apply(Renew(owner, fence_of[owner], LEASE_US)(state, now))
                mine = state is not None and state.fence == fence_of[owner] and oracle.answer is None
                if stands:
                    assert mine
                    oracle.holder, oracle.until = owner, max(oracle.until, now + LEASE_US)
            case "settle":
                before = state
                stored = apply(Settle(owner, fence_of[owner], Kind.DONE, owner.encode(), 40.0, "t")(state, now))
                if stored and before is not None and before.kind is Kind.CLAIMED:
                    assert before.fence == max(fences), "only the newest claim may answer"
                    oracle.holder, oracle.answer, oracle.until = owner, owner.encode(), now + 40_000_000
            case "release":
                if apply(Release(owner, fence_of[owner], "t")(state, now)):
                    oracle.holder, oracle.until = None, 0


@pytest.mark.parametrize("answer", [b"", b"plain", b"with spaces\nand \x00 bytes \xff"])
@pytest.mark.parametrize("kind", list(Kind))
def test_a_record_survives_its_bytes(kind: Kind, answer: bytes) -> None:
    record = Record(kind, 2**60, NOW, "0f" * 16, "ab" * 20, answer)
    assert RecordCodec().decode(RecordCodec().encode(record)) == record


@pytest.mark.parametrize("data", [b"", b"1:", b"1:c 1 2 a", b"1:x 1 2 a m ", b"1:c one 2 a m ", b"c 1 2 a m "])
def test_bytes_that_are_no_record_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        RecordCodec().decode(data)


def test_a_newer_record_is_refused_and_not_guessed_at() -> None:
    with pytest.raises(UnknownVersion):
        RecordCodec().decode(b"2:c 1 2 a m ")
