"""The contract of `MessageQueue`: dead letters."""

from __future__ import annotations

from sdpatterns.ports.queue import MessageQueue, Park, Parked, QueueSettings, kept_reason
from sdpatterns.testing.contracts.queues.scenes import (
    claim_each,
    claim_one,
    complete,
    numbered,
    publish,
    queue_scene,
    settle_one,
    take_all,
)
from sdpatterns.testing.contracts.stage import BackendContract, Stage
from sdpatterns.testing.contracts.values import ODD_KEYS
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = ["QueueLetters"]

_SWEEPS_MAX = 200


async def _park(queue: MessageQueue, *names: str, reason: str = "broken", **words: object) -> None:
    for name in names:
        await publish(queue, name, **words)
        claimed = await claim_one(queue)
        assert claimed.id == name
        assert await settle_one(queue, Park(claimed, reason))


async def _pages(queue: MessageQueue, limit: int) -> list[Parked]:
    found: list[Parked] = []
    while page := await queue.parked(limit, found[-1].position if found else 0):
        assert len(page) <= limit
        found.extend(page)
    return found


class QueueLetters(BackendContract):
    """What was parked can be looked at, tried again and forgotten."""

    @queue_scene("redrive")
    async def test_a_parked_message_shows_what_it_was(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", key="k", tenant="t", payload=b"\x00", headers={"h": "ключ"})
        first = await claim_one(queue, 30.0)
        stage.shift(31.0)
        second = await claim_one(queue)
        assert await settle_one(queue, Park(second, "ValueError: 🔑"))
        [letter] = await queue.parked(10)
        assert letter[1:5] == ("a", b"\x00", letter.headers, "k")
        assert (dict(letter.headers), letter.tenant) == ({"h": "ключ"}, "t")
        assert (letter.attempt, letter.reason, letter.published_us) == (2, "ValueError: 🔑", first.published_us)
        assert letter.published_us + 31_000_000 <= letter.parked_us <= letter.published_us + 91_000_000
        assert letter.position > 0

    @queue_scene("redrive")
    async def test_a_parked_message_is_not_handed_out(self, stage: Stage, queue: MessageQueue) -> None:
        await _park(queue, "a")
        stage.shift(1_000.0)
        assert await claim_each(queue, 10) == []
        assert (await queue.depth())[:4] == (0, 0, 0, 1)

    @queue_scene("redrive", "fence")
    async def test_a_claim_that_was_parked_is_over(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        claimed = await claim_one(queue)
        assert await settle_one(queue, Park(claimed, "first"))
        await settle_one(queue, Park(claimed, "second"))
        assert not any(await queue.extend([claimed], 30.0))
        assert [letter.reason for letter in await queue.parked(10)] == ["first"]
        assert list(await queue.redrive(["a"])) == [True]
        assert not await settle_one(queue, Park(claimed, "third"))
        assert await claim_each(queue, 10) == ["a"]

    @queue_scene("redrive")
    async def test_any_text_is_a_reason(self, stage: Stage, queue: MessageQueue) -> None:
        reasons = ["", "a\x00b", "\ud800", "x" * 1_000_000, "'", "\n", "🔑" * 5_000]
        for place, reason in enumerate(reasons):
            await _park(queue, f"{place}", reason=reason)
        assert_same([letter.reason for letter in await queue.parked(10)], [kept_reason(reason) for reason in reasons])

    @queue_scene("redrive")
    async def test_letters_come_page_by_page_in_the_order_of_their_parking(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        names = [f"{number}" for number in (5, 3, 8, 1, 9, 2, 7)]
        await _park(queue, *names)
        for limit in (1, 3, 7, 100):
            assert_same([letter.id for letter in await _pages(queue, limit)], names)
        assert list(await queue.parked(0)) == []
        positions = [letter.position for letter in await queue.parked(100)]
        assert positions == sorted(set(positions))

    @queue_scene("redrive")
    async def test_a_page_goes_on_where_the_last_one_ended_though_letters_have_gone(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        await _park(queue, *"abcdef")
        page = await queue.parked(3)
        await queue.discard(["b", "c", "d"])
        await queue.redrive(["a"])
        await complete(queue, await claim_one(queue))
        await _park(queue, "g")
        rest = await queue.parked(10, page[-1].position)
        assert [letter.id for letter in rest] == ["e", "f", "g"]

    @queue_scene("redrive")
    async def test_a_message_that_is_parked_again_gets_a_new_position(self, stage: Stage, queue: MessageQueue) -> None:
        await _park(queue, "a", "b")
        before = {letter.id: letter.position for letter in await queue.parked(10)}
        assert list(await queue.redrive(["b"])) == [True]
        assert await settle_one(queue, Park(await claim_one(queue), "again"))
        after = {letter.id: letter.position for letter in await queue.parked(10)}
        assert after["a"] == before["a"]
        assert after["b"] > before["b"]

    @queue_scene("redrive")
    async def test_redriving_makes_it_due_as_if_it_were_new(self, stage: Stage, queue: MessageQueue) -> None:
        await _park(queue, "a", headers={"h": "1"})
        await _park(queue, "b", "c")
        [published_us] = [letter.published_us for letter in await queue.parked(1)]
        assert list(await queue.redrive(["a", "never parked", "a", "c"])) == [True, False, False, True]
        assert list(await queue.redrive([])) == []
        assert (await queue.depth())[:4] == (2, 0, 0, 1)
        claims = sorted((await queue.claim(10, 60.0)).messages)
        assert [(claimed.id, claimed.attempt, dict(claimed.headers)) for claimed in claims] == [
            ("a", 1, {"h": "1"}), ("c", 1, {}),
        ]  # fmt: skip
        assert claims[0].published_us == published_us
        await complete(queue, *claims)

    @queue_scene("redrive")
    async def test_only_letters_are_redriven_and_discarded(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "out", "waits")
        claimed = await claim_one(queue)
        assert list(await queue.redrive(["out", "waits"])) == [False, False]
        assert list(await queue.discard(["out", "waits"])) == [False, False]
        await complete(queue, claimed)
        assert len(await take_all(queue)) == 1

    @queue_scene("redrive", "keyed order")
    async def test_a_redriven_message_stands_at_the_end_of_its_key(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b", "c", key="k")
        assert await settle_one(queue, Park(await claim_one(queue), "broken"))
        second = await claim_one(queue)
        assert list(await queue.redrive(["a"])) == [True]
        assert await claim_each(queue, 10) == []
        await complete(queue, second)
        await publish(queue, "d", key="k")
        assert await take_all(queue) == ["c", "a", "d"]

    @queue_scene("redrive", "keyed order")
    async def test_a_redriven_message_whose_key_is_free_is_due(self, stage: Stage, queue: MessageQueue) -> None:
        await _park(queue, "a", "b", key="k")
        assert list(await queue.redrive(["b", "a"])) == [True, True]
        assert await take_all(queue) == ["b", "a"]

    @queue_scene("redrive")
    async def test_discarding_forgets(self, stage: Stage, queue: MessageQueue) -> None:
        await _park(queue, "a", "b")
        assert list(await queue.discard(["a", "a", "never parked"])) == [True, False, False]
        assert list(await queue.discard([])) == []
        assert [letter.id for letter in await queue.parked(10)] == ["b"]
        assert list(await queue.redrive(["a"])) == [False]
        await publish(queue, "a")
        assert await claim_each(queue, 10) == ["a"]

    @queue_scene("redrive")
    async def test_letters_with_any_id_are_found(self, stage: Stage, queue: MessageQueue) -> None:
        await _park(queue, *ODD_KEYS)
        assert_same([letter.id for letter in await _pages(queue, 10)], ODD_KEYS)
        assert_same(await queue.redrive(ODD_KEYS[::2]), [True] * len(ODD_KEYS[::2]))
        assert_same(await queue.discard(ODD_KEYS[1::2]), [True] * len(ODD_KEYS[1::2]))
        assert_same(sorted(await take_all(queue)), sorted(ODD_KEYS[::2]))

    @queue_scene("redrive")
    async def test_letters_are_kept_for_as_long_as_was_said(self, stage: Stage, queue: MessageQueue) -> None:
        short = stage.queue("short", QueueSettings(parked_keep_s=1_000.0))
        await _park(short, "old")
        stage.shift(900.0)
        await _park(short, "young")
        assert [letter.id for letter in await short.parked(10)] == ["old", "young"]
        stage.shift(200.0)
        await _swept(short, ["young"])
        await publish(short, "old")
        assert await claim_each(short, 10) == ["old"]
        stage.shift(1_000.0)
        await _swept(short, [])

    @queue_scene("redrive")
    async def test_many_letters_are_swept(self, stage: Stage, queue: MessageQueue) -> None:
        short = stage.queue("short", QueueSettings(parked_keep_s=100.0))
        await short.publish(numbered(300))
        claims = (await short.claim(300, 60.0)).messages
        assert_same(await short.settle([Park(claimed, "") for claimed in claims]), [True] * len(claims))
        stage.shift(200.0)
        await _swept(short, [])
        assert_same(await short.redrive([each.id for each in claims]), [False] * len(claims))


async def _swept(queue: MessageQueue, left: list[str]) -> None:
    """Letters that are too old go within a bounded number of calls."""
    letters: list[str] = []
    for turn in range(_SWEEPS_MAX):
        letters = [letter.id for letter in await queue.parked(1_000)]
        if letters == left and (await queue.depth()).parked == len(left):
            return
        await publish(queue, f"sweep{turn}")
        await take_all(queue)
    raise AssertionError(f"{len(letters)} letters are there after {_SWEEPS_MAX} calls, {len(left)} should be")
