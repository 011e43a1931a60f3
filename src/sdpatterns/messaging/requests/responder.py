"""Answer requests."""

from __future__ import annotations

import random as random_numbers
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from sdpatterns.core.carried import CORRELATION, trace_in
from sdpatterns.core.context import correlation_id, trace, with_deadline
from sdpatterns.core.judging import callable_of
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.tracing import TRACERS, Opened
from sdpatterns.messaging.consumer import Again, Consumer, Delivery, Redelivery, after_failure, awaited
from sdpatterns.messaging.requests.decision import PutReply, Reply
from sdpatterns.messaging.requests.notices import RequestAnswered, RequestExpired
from sdpatterns.messaging.requests.requests import VALUES, Requests
from sdpatterns.ports.queue import Claimed, Complete, Requeue, Settlement

__all__ = ["IncomingRequest", "RequestHandler", "Responder"]

_ONCE = Redelivery(attempts_max=1)
_LATE_S = 60.0
"""For how long after the deadline a reply is kept: the caller's clock may be a little slower."""


class IncomingRequest(NamedTuple):
    """What was asked. `id` is the same in each attempt: give it to `Idempotency` or an `Inbox`."""

    id: str
    value: Any
    attempt: int


RequestHandler: TypeAlias = Callable[[IncomingRequest], Any]
"""A function, async or plain, whose result is the reply."""


class Responder(Consumer):
    """Answers requests with a function: `async with Responder(prices, price_of):`. Run as many as you like.

    **Keeps**: a request whose responder died is answered by another one, if its deadline has not passed; of two
    replies the first one counts. A request whose deadline has passed is dropped, and its handler does not run. A
    handler that raises is not tried again, unless `redelivery` says so; its caller gets `RequestFailed`. A
    `Rejected`, as of a limiter around the handler, sends the request back to the queue.
    **Costs** what a `Consumer` does, and one step for each reply. A plain function blocks the loop: keep it short, or
    make it async.
    """

    def __init__(
        self,
        requests: Requests,
        handler: RequestHandler,
        *,
        redelivery: Redelivery = _ONCE,
        concurrency: int = 50,
        lease_s: float = 8.0,
        poll_s: float = 5.0,
        drain_s: float = 30.0,
    ) -> None:
        super().__init__(
            requests.name, requests.queue, requests.signals,
            concurrency=concurrency, lease_s=lease_s, poll_s=poll_s, drain_s=drain_s,
        )  # fmt: skip
        self.requests = requests
        self.handler = callable_of("handler", handler)
        self.redelivery = redelivery

    def deliver(self, claimed: Claimed, until_s: float, /) -> RequestDelivery:
        """One request."""
        return RequestDelivery(self, claimed, until_s)


class RequestDelivery(Delivery):
    """One request while it is answered."""

    def __init__(self, responder: Responder, claimed: Claimed, until_s: float) -> None:
        super().__init__(responder.queue, claimed, responder.lease_s, until_s)
        self._responder = responder

    async def handle(self) -> Settlement:
        """Answer it; what is to become of its message."""
        claimed, left_s = self.claimed, self.deadline_left_s()
        if left_s is None or left_s <= 0:
            if LISTENERS:
                tell(RequestExpired(name=self._responder.name, id=claimed.id))
            return Complete(claimed)
        try:
            reply = Reply(VALUES.encode(await self._answer(left_s)))
        except Exception as error:  # noqa: BLE001 - judged by the decision
            draw = random_numbers.random()
            after = after_failure(self._responder.redelivery, claimed.attempt, error, draw)
            if isinstance(after, Again):
                return Requeue(claimed, after.delay_s, after.counts)
            reply = Reply(None, after.reason)
        await self.insist(lambda: self._put(reply, left_s + _LATE_S))
        if LISTENERS:
            lag_s = max(0.0, (self.claimed_us - claimed.published_us) / 1_000_000)
            is_failure = reply.value is None
            tell(RequestAnswered(name=self._responder.name, id=claimed.id, lag_s=lag_s, is_failure=is_failure))
        return Complete(claimed)

    async def _answer(self, left_s: float) -> Any:
        responder, claimed = self._responder, self.claimed
        request = IncomingRequest(claimed.id, VALUES.decode(claimed.payload), claimed.attempt)
        correlation_id.set(claimed.headers.get(CORRELATION))
        with with_deadline(left_s):
            if not TRACERS:
                trace.set(trace_in(claimed.headers))
                return await awaited(responder.handler(request))
            facts = {"messaging.destination.name": responder.name, "messaging.message.id": claimed.id}
            with Opened(f"answer {responder.name}", "server", facts, parent=trace_in(claimed.headers)):
                return await awaited(responder.handler(request))

    async def _put(self, reply: Reply, keep_s: float) -> None:
        requests = self._responder.requests
        wake = (requests.topic_of(self.claimed.id),)
        await requests.replies.transact(self.claimed.id, PutReply(reply, keep_s, wake))

    def lost(self) -> None:
        """Another responder has it: the first reply counts."""
