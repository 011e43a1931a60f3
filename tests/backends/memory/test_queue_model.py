"""The queue of this process against the naive one, call by call."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sdpatterns.backends.memory.queue import MemoryQueue
from sdpatterns.core.clock import Clock
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendFull
from sdpatterns.ports.queue import Claimed, Complete, Message, Park, QueueSettings, Requeue, Settlement
from tests.naive_queue import NaiveQueue, Row

IDS = [f"id{number}" for number in range(12)]
SETTINGS = QueueSettings(messages_max=9, parked_keep_s=60.0)

messages = st.builds(
    Message,
    id=st.sampled_from(IDS),
    payload=st.binary(max_size=2),
    key=st.sampled_from([None, None, "k1", "k2", ""]),
    tenant=st.sampled_from(["", "t1", "t2"]),
    delay_s=st.sampled_from([0.0, 0.0, 5.0, 40.0]),
    rank_s=st.sampled_from([0.0, 0.0, 3.0, -3.0, 50.0]),
    replace=st.sampled_from([False, False, True]),
)
ways = st.one_of(
    st.just("complete"),
    st.just("park"),
    st.fixed_dictionaries(
        {"after_s": st.sampled_from([0.0, 0.0, 20.0]), "counts": st.booleans()},
        optional={"payload": st.just(b"new"), "headers": st.just({"h": "1"})},
    ),
)
places = st.integers(0, 7)
steps = st.one_of(
    st.tuples(st.just("publish"), st.lists(messages, min_size=1, max_size=4)),
    st.tuples(st.just("claim"), st.sampled_from([0, 1, 2, 3, 20]), st.sampled_from([10.0, 33.0])),
    st.tuples(st.just("settle"), st.lists(st.tuples(places, ways), min_size=1, max_size=3)),
    st.tuples(st.just("settle"), st.lists(st.tuples(places, ways), min_size=1, max_size=3)),
    st.tuples(st.just("extend"), places, st.sampled_from([2.0, 50.0])),
    st.tuples(
        st.just("operate"),
        st.sampled_from(["withdraw", "redrive", "redrive", "discard"]),
        # None: the first letters.
        st.one_of(st.just([]), st.lists(st.sampled_from(IDS), max_size=3)),
    ),
    # No sum of these is the keeping time of a letter, at whose last microsecond both may be right.
    st.tuples(st.just("pass_time"), st.sampled_from([0.000_001, 1.3, 7.3, 7.3, 31.7, 90.1])),
)


class Both:
    """The two queues, and the claims that were made on them, newest first."""

    def __init__(self) -> None:
        self.now_us = 1_000_000_000
        clock = Clock(now_us=lambda: self.now_us)
        self.ours = MemoryQueue("ours", SETTINGS, clock=clock, ring=lambda topics: None)
        self.naive = NaiveQueue("naive", SETTINGS, lambda: self.now_us, lambda topics: None)
        self.claims: list[Claimed] = []

    def publish(self, sent: list[Message]) -> None:
        answers: list[Any] = []
        for queue in (self.ours, self.naive):
            try:
                answers.append(finish(queue.publish(sent)))
            except BackendFull:
                answers.append("full")
        assert answers[0] == answers[1]

    def claim(self, n: int, lease_s: float) -> None:
        due = self.naive.due()
        found = finish(self.ours.claim(n, lease_s))
        rows = [next(row for row in due if row.message.id == claimed.id) for claimed in found.messages]
        assert len(rows) == len({row.message.id for row in rows}) == min(n, len(due))
        _in_a_fair_order(rows, due)
        assert found.messages == [self.naive.lease(row, lease_s) for row in rows]
        assert found.due_in_s == self.naive.due_in_s()
        self.claims = [*found.messages, *self.claims][:8]

    def settle(self, how: list[tuple[int, Any]]) -> None:
        settlements = [_ending(self.claims[place], way) for place, way in how if place < len(self.claims)]
        assert finish(self.ours.settle(settlements)) == finish(self.naive.settle(settlements))

    def extend(self, place: int, lease_s: float) -> None:
        some = self.claims[place : place + 2]
        assert finish(self.ours.extend(some, lease_s)) == finish(self.naive.extend(some, lease_s))

    def operate(self, verb: str, ids: list[str]) -> None:
        ids = ids or [letter.id for letter in finish(self.naive.parked(2))]
        assert finish(getattr(self.ours, verb)(ids)) == finish(getattr(self.naive, verb)(ids))

    def pass_time(self, seconds: float) -> None:
        self.now_us += round(seconds * 1e6)

    def are_the_same(self) -> None:
        ours, naive = finish(self.ours.depth()), finish(self.naive.depth())
        assert ours[:4] == naive[:4]
        if any(row.message.key is not None for row in self.naive.due()):
            # The naive one counts from when a message was due, though it was behind another then.
            assert 0.0 <= ours.lag_s <= naive.lag_s
        else:
            assert ours.lag_s == naive.lag_s
        letters = finish(self.naive.parked(100))
        assert finish(self.ours.parked(100)) == letters
        for letter in letters[:2]:
            assert finish(self.ours.parked(2, letter.position)) == finish(self.naive.parked(2, letter.position))

    def shells_are_few(self) -> None:
        ready, later = self.ours._ready, self.ours._later
        assert ready.count == sum(agenda.live for agenda in ready._tenants.values())
        assert all(agenda.live for agenda in ready._tenants.values())
        for agenda in (later, *ready._tenants.values()):
            assert len(agenda._line) + len(agenda._heap) <= 2 * agenda.live + 65
        keys = {row.message.key for row in self.naive.rows if not row.position}
        assert self.ours._behind.keys() == keys - {None}


def _ending(claimed: Claimed, way: Any) -> Settlement:
    if way == "complete":
        return Complete(claimed)
    return Park(claimed, "why") if way == "park" else Requeue(claimed, **way)


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, min_size=30, max_size=60))
def test_both_queues_answer_the_same(some: list[Any]) -> None:
    both = Both()
    for name, *words in some:
        getattr(both, name)(*words)
        both.are_the_same()
        both.shells_are_few()


def _in_a_fair_order(taken: list[Row], due: list[Row]) -> None:
    """Of each tenant the earliest, and of no tenant two more than of one that has more."""
    counts = Counter(row.message.tenant for row in taken)
    lines = {tenant: sorted(row.rank_us for row in due if row.message.tenant == tenant) for tenant in counts}
    for tenant, count in counts.items():
        assert [row.rank_us for row in taken if row.message.tenant == tenant] == lines[tenant][:count]
    left = {row.message.tenant for row in due} - {t for t, count in counts.items() if count == len(lines[t])}
    fewest = min((counts[tenant] for tenant in left), default=len(taken))
    assert all(count <= fewest + 1 for count in counts.values())
