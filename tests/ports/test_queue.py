"""The words of a queue check themselves."""

from __future__ import annotations

from typing import Any

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.ports.queue import (
    Claimed,
    Message,
    Park,
    QueueSettings,
    Requeue,
    check_messages,
    check_settlements,
    kept_reason,
    require,
    topic_of,
)

CLAIMED = Claimed("a", b"", {}, None, "", 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"id": "x" * 1_025}, "at most 1024 bytes"),
        ({"id": "\ud800"}, "half a character"),
        ({"key": "k" * 1_025}, "at most 1024 bytes"),
        ({"tenant": "\ud800"}, "half a character"),
        ({"delay_s": -1.0}, "delay_s must be a number from 0"),
        ({"delay_s": float("nan")}, "delay_s must be"),
        ({"delay_s": 4e8}, "delay_s must be"),
        ({"rank_s": 4e7}, "rank_s must be"),
        ({"rank_s": float("inf")}, "rank_s must be"),
        ({"headers": {"a": "x" * 16_384}}, "at most 16384 bytes, got 16385"),
        ({"headers": {"a": "\ud800"}}, "half a character"),
    ],
)
def test_a_message_that_no_store_could_keep_is_refused(words: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Message(**{"id": "a", "payload": b"", **words})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"id": 7}, "a key must be a string"),
        ({"key": 7}, "a key must be a string"),
        ({"tenant": 7}, "a key must be a string"),
        ({"payload": "text"}, "must be bytes, got str"),
        ({"payload": bytearray()}, "must be bytes, got bytearray"),
        ({"headers": {"a": 7}}, "headers are texts, got 7"),
        ({"headers": {b"a": "b"}}, "headers are texts"),
    ],
)
def test_a_message_of_the_wrong_types_is_refused(words: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        Message(**{"id": "a", "payload": b"", **words})


@pytest.mark.parametrize("words", [{"messages_max": 0}, {"payload_bytes_max": 0}, {"parked_keep_s": 59.0}])
def test_settings_out_of_range_are_refused(words: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(words))):
        QueueSettings(**words)


def test_what_is_too_large_for_a_queue_is_named() -> None:
    small = QueueSettings(payload_bytes_max=2)
    check_messages([Message(id="a", payload=b"12")], small)
    with pytest.raises(ValueError, match="'b' must be at most 2 bytes, got 3"):
        check_messages([Message(id="a", payload=b""), Message(id="b", payload=b"123")], small)


def test_settlements_are_checked() -> None:
    check_settlements([Requeue(CLAIMED, 5.0, payload=b"12", headers={"a": "b"}), Park(CLAIMED, "x")], QueueSettings())
    with pytest.raises(ValueError, match="after_s"):
        check_settlements([Requeue(CLAIMED, -1.0)], QueueSettings())
    with pytest.raises(ValueError, match="payload of message 'a'"):
        check_settlements([Requeue(CLAIMED, payload=b"12")], QueueSettings(payload_bytes_max=1))
    with pytest.raises(TypeError, match="headers"):
        check_settlements([Requeue(CLAIMED, headers={"a": 7})], QueueSettings())  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="payload"):
        check_settlements([Requeue(CLAIMED, payload="text")], QueueSettings())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="settle takes Complete, Requeue and Park, got 7"):
        check_settlements([7], QueueSettings())  # type: ignore[list-item]


def test_a_reason_is_kept_as_text_that_every_database_takes() -> None:
    assert kept_reason("ключ") == "ключ"
    assert kept_reason("a\0b\ud800") == "a\ufffdb?"
    assert kept_reason("x" * 5_000) == "x" * 4_096


def test_a_pattern_is_told_what_its_queue_lacks() -> None:
    queue = MemoryBackend().queue("jobs")
    require(queue, "Jobs", "fence", "keyed order")
    with pytest.raises(TypeError, match=r"Outbox needs a queue with transaction; MemoryQueue has none of that"):
        require(queue, "Outbox", "transaction", "fence")


def test_a_queue_has_a_topic() -> None:
    assert topic_of("jobs") == "queue/jobs" == MemoryBackend().queue("jobs").topic
