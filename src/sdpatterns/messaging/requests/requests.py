"""Send a request, and wait for its reply."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any, Protocol

from sdpatterns.core.carried import DEADLINE, carried
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import deadline_left_s
from sdpatterns.core.judging import plain
from sdpatterns.core.keys import check_name, join_key
from sdpatterns.core.ranges import seconds
from sdpatterns.core.runtime import current
from sdpatterns.core.tracing import TRACERS, Opened
from sdpatterns.core.undivided import Undivided
from sdpatterns.core.value_codec import ValueCodec
from sdpatterns.errors import BackendError, OutcomeUnknown, ReplyNotReceived, RequestFailed
from sdpatterns.messaging.requests.decision import REPLIES, Reply
from sdpatterns.ports.backend import HasQueues, HasSignals, HasStates
from sdpatterns.ports.queue import Message, QueueSettings, require
from sdpatterns.ports.signals import Subscription
from sdpatterns.ports.states import Space

__all__ = ["VALUES", "RequestBackend", "Requests"]

VALUES = ValueCodec()
"""For requests and replies."""

_LOOK_AGAIN_S = 2.0


class RequestBackend(HasQueues, HasSignals, HasStates, Protocol):
    """What requests need: a queue for them, cells for the replies, and signals that wake those who wait."""


class Requests(Undivided):
    """Requests of one name and their replies: `await prices.ask({"sku": 7})` here, a `Responder` elsewhere.

    ```
    ask --> the queue --> a responder: handler --> the reply, in a cell --> ask returns it
     |                                                  |
     +-- no reply in time: ReplyNotReceived             +-- no caller waits any more: it ends by itself
    ```

    **Keeps**: a request is carried out at least once if a responder comes to it before its deadline, and not at all
    after that. Its deadline is the caller's, or `timeout_s`, whichever is earlier; the handler inherits it, with the
    trace and the correlation id. A reply goes to the request that it belongs to, by its id. A late one is not
    read, and it is dropped a minute after the deadline.
    **May fail** with `ReplyNotReceived` (a TimeoutError), `RequestFailed` where the handler raised, `BackendError`
    where the request could not be sent; TypeError for a value that would not come back as it is.
    **Costs** a `publish`, two reads and, on the other side, a claim, a step and a settlement.

    Source: Hohpe and Woolf, "Request-Reply", "Correlation Identifier" (2003).
    """

    _elsewhere = "build it there, at import time, with the same backend"

    def __init__(
        self,
        name: str,
        *,
        backend: RequestBackend,
        timeout_s: float = 5.0,
        settings: QueueSettings | None = None,
        ids: Callable[[], str] = lambda: os.urandom(16).hex(),
    ) -> None:
        self.name = check_name("Requests", name)
        self.timeout_s = seconds("timeout_s", timeout_s)
        self.queue = backend.queue(f"requests/{name}", settings or QueueSettings())
        require(self.queue, f"Requests {name!r}", "fence", "unique")
        self.signals = backend.signals
        self.replies = backend.states.cells(Space(f"replies/{name}", REPLIES))
        self._ids = plain("ids", ids)

    def topic_of(self, request_id: str) -> str:
        """What is notified when the reply can be read. One subscription for all requests of a process."""
        return f"{join_key('replies', self.name)}#{request_id}"

    async def ask(self, value: Any = None, *, key: str | None = None, timeout_s: float | None = None) -> Any:
        """What the handler returned for `value`. Requests of one `key` are carried out one at a time, in order."""
        if not TRACERS:
            return await self._asked(value, key, timeout_s)
        facts = {"messaging.destination.name": self.name}
        with Opened(f"request {self.name}", "client", facts):
            return await self._asked(value, key, timeout_s)

    async def _asked(self, value: Any, key: str | None, timeout_s: float | None) -> Any:
        given_s = self.timeout_s if timeout_s is None else seconds("timeout_s", timeout_s)
        inherited_s = deadline_left_s()
        wait_s = given_s if inherited_s is None else min(given_s, inherited_s)
        if wait_s <= 0:
            raise ReplyNotReceived(self.name, 0.0)
        until_s, request_id = SYSTEM.monotonic() + wait_s, self._ids()
        headers = {**carried(), DEADLINE: str(round(wait_s * 1000))}
        message = Message(id=request_id, payload=VALUES.encode(value), key=key, headers=headers)
        async with self.signals.subscribe(self.topic_of(request_id)) as subscription:
            # Not sent again, because a responder may be done with it already. Its reply tells that it has arrived.
            with contextlib.suppress(OutcomeUnknown):
                await self.queue.publish([message])
            reply = await self._received(request_id, subscription, until_s)
        if reply is None:
            # No responder is to begin what no caller waits for.
            with contextlib.suppress(BackendError):
                await self.queue.withdraw([request_id])
            raise ReplyNotReceived(self.name, wait_s)
        if reply.value is None:
            raise RequestFailed(self.name, reply.reason)
        return VALUES.decode(reply.value)

    async def _received(self, request_id: str, subscription: Subscription, until_s: float) -> Reply | None:
        while True:
            reply = pause_s = None
            try:
                reply = await self.replies.read(request_id)
            except BackendError:
                pause_s = 0.1  # the reply may be there when the store is back
            left_s = until_s - SYSTEM.monotonic()
            if reply is not None or left_s <= 0:
                return reply
            if pause_s is not None:
                await current().sleep(min(left_s, pause_s))
            else:
                # A wake-up may be lost, so that it looks again after a while.
                await subscription.wait(min(left_s, _LOOK_AGAIN_S))

    def __repr__(self) -> str:
        return f"<Requests {self.name!r}>"
