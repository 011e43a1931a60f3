"""A request gets its own reply, or a clear error in time; a reply that comes late does no harm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.context import correlation_id, deadline_left_s, with_deadline
from sdpatterns.core.notices import Notice, listen
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendUnavailable, OutcomeUnknown, RateLimited, ReplyNotReceived, RequestFailed
from sdpatterns.messaging.consumer import Redelivery
from sdpatterns.messaging.requests import IncomingRequest, Requests, Responder
from sdpatterns.messaging.requests.decision import PutReply, Reply
from sdpatterns.messaging.requests.notices import RequestAnswered, RequestExpired
from sdpatterns.ports.queue import Message
from tests.backends.everywhere import PATIENCE_S, ShiftedMemory, each_backend_with_queues, unique

backend = each_backend_with_queues
pytestmark = pytest.mark.anyio

SOON_S = 0.05


def requests_on(backend: Any, timeout_s: float = PATIENCE_S) -> Requests:
    return Requests(unique("prices"), backend=backend, timeout_s=timeout_s)


async def double(request: IncomingRequest) -> Any:
    return 2 * request.value


async def test_each_of_many_requests_gets_its_own_reply_and_carries_deadline_and_correlation(backend: Any) -> None:
    prices, replies = requests_on(backend), dict[int, Any]()

    async def answer(request: IncomingRequest) -> Any:
        return 2 * request.value, correlation_id.get(), deadline_left_s()

    async def ask(number: int) -> None:
        correlation_id.set(f"basket-{number}")
        with with_deadline(PATIENCE_S / 2):
            replies[number] = await prices.ask(number)

    async with Responder(prices, answer), Responder(prices, answer), anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(ask, number)
    assert {number: reply[:2] for number, reply in replies.items()} == {n: (2 * n, f"basket-{n}") for n in range(20)}
    assert all(0 < reply[2] <= PATIENCE_S / 2 for reply in replies.values())
    assert (await prices.queue.depth())[:4] == (0, 0, 0, 0)


async def test_without_a_responder_the_caller_is_told_in_time_and_the_request_is_taken_back(backend: Any) -> None:
    prices = requests_on(backend, timeout_s=SOON_S)
    with pytest.raises(ReplyNotReceived, match="may have been carried out or not") as caught:
        await prices.ask(1)
    assert isinstance(caught.value, TimeoutError)
    assert (await prices.queue.depth())[:4] == (0, 0, 0, 0)
    with with_deadline(0), pytest.raises(ReplyNotReceived):
        await prices.ask(1, timeout_s=PATIENCE_S)


async def test_a_reply_that_comes_too_late_does_no_harm(backend: Any) -> None:
    prices, began, go_on, ended = requests_on(backend), anyio.Event(), anyio.Event(), anyio.Event()

    async def slow_at_first(request: IncomingRequest) -> Any:
        if request.value == "slow":
            began.set()
            await go_on.wait()
            ended.set()
        return request.value

    notices: list[Notice] = []
    with listen(notices.append):
        async with Responder(prices, slow_at_first):
            with anyio.fail_after(PATIENCE_S):
                while not began.is_set():  # on a busy machine a request may expire before it is begun
                    with pytest.raises(ReplyNotReceived):
                        await prices.ask("slow", timeout_s=0.5)
            go_on.set()
            assert await prices.ask("next") == "next"
            with anyio.fail_after(PATIENCE_S):
                await ended.wait()
    assert any(isinstance(notice, RequestAnswered) for notice in notices)
    assert (await prices.queue.depth())[:4] == (0, 0, 0, 0)


async def test_a_request_of_a_responder_that_died_is_answered_by_another(backend: Any) -> None:
    prices = requests_on(backend)

    async def attempt(request: IncomingRequest) -> int:
        return request.attempt

    async def dies() -> None:
        with anyio.fail_after(PATIENCE_S):
            while not (await prices.queue.claim(1, 8.0)).messages:  # noqa: ASYNC110 - a queue has no event
                await anyio.sleep(0.01)
        backend.shift(9.0)
        async with Responder(prices, attempt):
            await done.wait()

    done = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(dies)
        assert await prices.ask() == 2
        done.set()


async def test_a_request_whose_deadline_has_passed_is_not_carried_out(backend: Any) -> None:
    prices, ran, notices = requests_on(backend), list[str](), list[Notice]()
    headers = {"deadline-ms": "5000"}
    await prices.queue.publish([Message(id="r-1", payload=b'1:"late"', headers=headers)])
    backend.shift(6.0)
    with listen(notices.append):
        async with Responder(prices, lambda request: ran.append(request.id)):
            assert await prices.ask("in time") is None
    assert "r-1" not in ran
    assert [notice.id for notice in notices if isinstance(notice, RequestExpired)] == ["r-1"]


async def test_a_handler_that_raises_tells_its_caller_why() -> None:
    prices, attempts = requests_on(MemoryBackend()), list[int]()

    def fails(request: IncomingRequest) -> Any:
        attempts.append(request.attempt)
        if request.attempt < 3:
            raise ArithmeticError("no price")
        return object() if request.value == "odd" else "third time"

    async with Responder(prices, fails):
        with pytest.raises(RequestFailed, match="ArithmeticError: no price"):
            await prices.ask()
    quick = Redelivery(attempts_max=3, base_s=0, max_s=0)
    async with Responder(prices, fails, redelivery=quick):
        assert await prices.ask() == "third time"
        with pytest.raises(RequestFailed, match="TypeError"):
            await prices.ask("odd")
    assert attempts == [1, 1, 2, 3, 1, 2, 3]


async def test_a_refusal_sends_the_request_back_and_counts_as_no_attempt() -> None:
    prices, refusals = requests_on(MemoryBackend()), [RateLimited("limiter", retry_after_s=0.0)] * 3

    def limited(request: IncomingRequest) -> int:
        if refusals:
            raise refusals.pop()
        return request.attempt

    async with Responder(prices, limited):
        assert await prices.ask() == 1


async def test_of_two_replies_the_first_counts_and_it_ends_by_itself() -> None:
    store = ShiftedMemory()
    replies = requests_on(store).replies
    for value in (b"first", b"second"):
        await replies.transact("r-1", PutReply(Reply(value), 60.0, ()))
    assert await replies.read("r-1") == Reply(b"first")
    assert PutReply(Reply(b"x"), 60.0, ("t",))([None], 0) == ((Reply(b"x"),), None, (60.0,), ("t",))


class Losing(MemoryBackend):
    """Loses the reply to each publishing, which has happened or not; and cannot be read for a while."""

    def __init__(self, *, happens: bool = True, unread: int = 0) -> None:
        super().__init__()
        self.happens, self.unread = happens, unread

    def queue(self, name: str, /, *args: Any) -> Any:
        queue, outer = super().queue(name, *args), self
        publish = queue.publish

        async def lost(messages: Sequence[Message], /) -> Sequence[bool]:
            if outer.happens:
                await publish(messages)
            raise OutcomeUnknown("the reply was lost")

        queue.publish = lost  # type: ignore[method-assign]
        return queue


async def test_a_publishing_whose_reply_is_lost_is_not_repeated_and_its_reply_is_found() -> None:
    prices, ran = requests_on(Losing()), list[str]()

    def note(request: IncomingRequest) -> str:
        ran.append(request.id)
        return "done"

    async with Responder(prices, note):
        assert await prices.ask() == "done"
    assert len(ran) == 1
    with pytest.raises(ReplyNotReceived):
        await requests_on(Losing(happens=False), timeout_s=SOON_S).ask()


async def test_a_store_that_cannot_be_read_for_a_while_costs_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    prices = requests_on(MemoryBackend())
    read, failures = prices.replies.read, [BackendUnavailable("away")] * 2

    async def failing(key: str, /) -> Any:
        if failures:
            raise failures.pop()
        return await read(key)

    monkeypatch.setattr(prices.replies, "read", failing)
    async with Responder(prices, double):
        assert await prices.ask(21) == 42
    assert failures == []


def test_requests_are_answered_without_a_loop() -> None:
    prices = requests_on(MemoryBackend())

    async def play() -> Any:
        async with Responder(prices, lambda request: 2 * request.value, poll_s=0.05):
            return await prices.ask(21)

    assert finish(play()) == 42
