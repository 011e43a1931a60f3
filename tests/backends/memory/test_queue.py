"""The queue of this process: what the contract and the model do not see."""

from __future__ import annotations

import gc
import sys
import threading
from typing import Any

import pytest

from sdpatterns import listen
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.memory.queue import MemoryQueue
from sdpatterns.core.clock import Clock
from sdpatterns.core.notices import Notice
from sdpatterns.core.runtime import finish
from sdpatterns.ports.queue import Complete, DeadLettersDropped, Message, Park, QueueSettings, Requeue
from tests.threads import in_threads


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now_us = 10_000_000
        self.clock = Clock(now_us=lambda: self.now_us)

    def queue(self, **settings: Any) -> MemoryQueue:
        return MemoryBackend(clock=self.clock).queue("jobs", QueueSettings(**settings))


def publish(queue: MemoryQueue, count: int, prefix: str = "", **words: Any) -> list[bool]:
    return finish(queue.publish([Message(id=f"{prefix}{n}", payload=b"", **words) for n in range(count)]))


def park_all(queue: MemoryQueue) -> None:
    claims = finish(queue.claim(10_000, 10.0)).messages
    assert all(finish(queue.settle([Park(claimed, "broken") for claimed in claims])))


def test_time_does_not_go_back_with_the_clock() -> None:
    hand = Hand()
    queue = hand.queue()
    publish(queue, 1)
    first = finish(queue.claim(1, 30.0)).messages[0]
    hand.now_us -= 5_000_000
    assert all(finish(queue.settle([Requeue(first)])))
    second = finish(queue.claim(1, 30.0)).messages[0]
    assert second.fence > first.fence
    assert second.leased_until_us == first.leased_until_us


def test_a_message_that_comes_again_does_not_hide_for_how_long_another_has_been_due() -> None:
    hand = Hand()
    queue = hand.queue()
    publish(queue, 1, "first")
    hand.now_us += 1_000_000
    publish(queue, 1, "second")
    hand.now_us += 2_000_000
    [first] = finish(queue.claim(1, 30.0)).messages
    assert all(finish(queue.settle([Requeue(first)])))
    assert finish(queue.depth()).lag_s == 2.0


def test_letters_are_dropped_a_few_at_a_time_and_count_as_gone_at_once() -> None:
    hand = Hand()
    queue = hand.queue(parked_keep_s=60.0, messages_max=1_000)
    publish(queue, 1_000)
    park_all(queue)
    hand.now_us += 61_000_000
    heard: list[Notice] = []
    with listen(heard.append):
        finish(queue.claim(1, 1.0))
        assert heard == [DeadLettersDropped(name="jobs", count=64)]
        # Not yet dropped, and an id that is free all the same.
        assert finish(queue.publish([Message(id="999", payload=b"")])) == [True]
        # Room for all of these is there, though most letters are.
        assert all(publish(queue, 900, "new"))
    assert finish(queue.depth()).due == 901


def test_no_position_is_used_twice() -> None:
    queue = Hand().queue()
    publish(queue, 100)
    park_all(queue)
    letters = finish(queue.parked(100))
    finish(queue.discard([letter.id for letter in reversed(letters)]))
    publish(queue, 1)
    park_all(queue)
    assert finish(queue.parked(1))[0].position > letters[-1].position


def test_a_listener_may_use_the_queue() -> None:
    hand = Hand()
    queue = hand.queue(parked_keep_s=60.0)
    publish(queue, 3)
    park_all(queue)
    hand.now_us += 61_000_000
    depths: list[int] = []
    with listen(lambda _: depths.append(finish(queue.depth()).parked)):
        assert finish(queue.parked(10)) == []
    assert depths == [0]


def test_headers_belong_to_the_queue() -> None:
    queue = Hand().queue()
    mine = {"h": "1"}
    finish(queue.publish([Message(id="a", payload=b"", headers=mine)]))
    mine["h"] = "2"
    claimed = finish(queue.claim(1, 30.0)).messages[0]
    claimed.headers["h"] = "3"  # type: ignore[index]
    finish(queue.settle([Requeue(claimed)]))
    claimed = finish(queue.claim(1, 30.0)).messages[0]
    assert claimed.headers == {"h": "1"}
    finish(queue.settle([Park(claimed, "broken")]))
    finish(queue.parked(1))[0].headers["h"] = "4"  # type: ignore[index]
    assert finish(queue.parked(1))[0].headers == {"h": "1"}


def test_the_payload_of_a_message_that_is_gone_is_freed() -> None:
    queue = Hand().queue()
    publish(queue, 1)
    payload = bytes(1_000)
    mine = sys.getrefcount(payload)
    finish(queue.publish([Message(id="a", payload=payload, delay_s=9.0), Message(id="b", payload=payload)]))
    assert sys.getrefcount(payload) == mine + 2
    finish(queue.withdraw(["a"]))
    assert sys.getrefcount(payload) == mine + 1
    claims = finish(queue.claim(9, 30.0)).messages
    finish(queue.settle([Complete(claimed) for claimed in claims]))
    del claims
    assert sys.getrefcount(payload) == mine


def calls_of(queue: MemoryQueue, n: int) -> int:
    """How many functions a claim calls."""
    count = 0

    def counts(_frame: Any, event: str, _what: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(counts)
    try:
        claims = queue.claim(n, 30.0)
        with pytest.raises(StopIteration) as over:
            claims.send(None)
    finally:
        sys.setprofile(None)
    assert len(over.value.value.messages) == n
    return count


@pytest.mark.parametrize(
    "backlog",
    [
        {},
        {"key": "busy"},
        {"delay_s": 60.0},
        {"rank_s": 60.0},
        {"tenant": "large"},
    ],
    ids=["due", "behind one key", "delayed", "ranked", "of another tenant"],
)
def test_a_claim_costs_the_same_however_much_waits(backlog: dict[str, Any]) -> None:
    def cost(size: int) -> int:
        queue = Hand().queue()
        publish(queue, size, "waits", **backlog)
        publish(queue, 20, rank_s=-1.0)
        return calls_of(queue, 10)

    assert cost(5_000) <= cost(50) + 5


def test_a_claim_costs_the_same_however_many_tenants_there_are() -> None:
    def cost(size: int) -> int:
        queue = Hand().queue()
        finish(queue.publish([Message(id=f"{n}", payload=b"", tenant=f"{n}") for n in range(size)]))
        return calls_of(queue, 10)

    assert cost(5_000) <= cost(50) + 5


@pytest.mark.nightly
@pytest.mark.parametrize("words", [{"delay_s": 60.0}, {"key": "k"}, {}, {"rank_s": 1.0}])
def test_what_was_withdrawn_leaves_little_behind(words: dict[str, Any]) -> None:
    queue = Hand().queue()
    finish(queue.publish([Message(id="first", payload=b"", **words)]))
    for turn in range(2_000):
        tenant = {"tenant": f"{turn % 50}"} if "key" not in words else {}
        finish(queue.publish([Message(id="a", payload=b"", **words, **tenant)]))
        assert finish(queue.withdraw(["a"])) == [True]
    gc.collect()
    shells = sum(type(thing).__name__ == "KeptMessage" for thing in gc.get_objects())
    assert shells < 300


def test_the_same_name_is_the_same_queue_from_any_thread() -> None:
    backend = MemoryBackend()
    found = in_threads(lambda: backend.queue("jobs", QueueSettings(messages_max=threading.get_ident())))
    assert len({id(queue) for queue in found}) == 1
    assert backend.queue("others") is not found[0]


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb"])
def test_a_queue_needs_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="a queue needs a name"):
        MemoryBackend().queue(name)
