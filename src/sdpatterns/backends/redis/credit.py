"""The credit of one worker on Redis: messages that come by a channel of its own, already leased."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sdpatterns.backends.redis.listener import PUSHES
from sdpatterns.backends.redis.resources import RedisLoopResources
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime import Waiter, current
from sdpatterns.errors import BackendError
from sdpatterns.ports.push import Pushed
from sdpatterns.ports.queue import Claimed, Claims, Requeue

if TYPE_CHECKING:
    from sdpatterns.backends.redis.queue import RedisQueue

__all__ = ["RedisCredit"]

_ARRIVAL_MAX_S = 1.0
"""For how long a message is waited for that the server has pushed. It mostly comes before the answer that says so."""
_LISTEN_MAX_S = 0.5
_AGAIN_S = 10.0
_HEAD = struct.Struct(">dII")


class _Came(NamedTuple):
    claimed: Claimed
    lease_s: float
    received_s: float


class RedisCredit:
    """See `Credit`.

    What became of the credit is known to the server alone, and a message and the answer to a claim travel on two
    connections. So each claim says what this worker knows (0: it left none, 1: it left one, 2: it left one and got a
    message), and the server answers whether a message is on its way.
    """

    def __init__(self, queue: RedisQueue, here: RedisLoopResources, wake: Callable[[], None]) -> None:
        self._queue = queue
        self._here = here
        self._wake = wake
        self._topic = PUSHES + os.urandom(8).hex()
        self._channel = here.server.channel + self._topic
        self._is_heard = False
        self._is_left = False
        """Whether the server may have it, so that a message may come."""
        self._has_come = False
        """Whether a message came for it and the server has not been told yet."""
        self._came: list[_Came] = []
        self._lease_s = 0.0
        self._arrival: Waiter | None = None
        self._again_s = 0.0
        self._asked: tuple[float, int] = (0.0, 0)

    async def claim(self, n: int, lease_s: float, /) -> Claims:
        self._lease_s = lease_s
        may_push = await self._listens()
        # What came meanwhile has places of its own.
        free = max(0, n - len(self._came))
        return await self._claimed(free, is_to_stay=may_push and free > 0)

    async def _listens(self) -> bool:
        """Whether messages are heard. Where the signals are away a claim must not wait for them."""
        if not self._is_heard and SYSTEM.monotonic() >= self._again_s:
            try:
                async with asyncio.timeout(_LISTEN_MAX_S):
                    await self._here.listener.add((self._topic,))
            except (BackendError, TimeoutError):
                self._again_s = SYSTEM.monotonic() + _AGAIN_S
                return False
            self._here.pushes[self._topic] = self._receive
            self._is_heard = True
        return self._is_heard and SYSTEM.monotonic() >= self._again_s

    async def _claimed(self, n: int, *, is_to_stay: bool) -> Claims:
        known = b"2" if self._has_come else b"1" if self._is_left else b"0"
        # From here on the server may push for the credit that this claim leaves, before its answer comes.
        self._has_come, self._is_left = False, is_to_stay or known == b"1"
        asked_s = SYSTEM.monotonic()
        try:
            claims, now_us, is_pushed = await self._queue.claimed(
                n, self._lease_s, channel=self._channel, leaves_credit=is_to_stay, credit=known
            )
        except BaseException:
            # Perhaps it has happened, and left the credit. To say so is safe in any case: at worst the next claim waits
            # for a message that has come already.
            self._is_left = not self._has_come
            raise
        self._asked = asked_s, now_us
        if not is_pushed:
            self._is_left = self._is_left and is_to_stay and not claims.messages
        elif not await self._has_arrived():
            # Lost on its way, perhaps with all that comes on this connection. The places are free.
            self._again_s = SYSTEM.monotonic() + _AGAIN_S
            return await self._claimed(n, is_to_stay=False)
        return claims

    async def _has_arrived(self) -> bool:
        """Wait for a message that the server has pushed; it is counted with those that came."""
        if not self._has_come:
            self._arrival = current().waiter()
            await self._arrival.wait(_ARRIVAL_MAX_S)
            self._arrival = None
        has_come = self._has_come
        self._is_left = self._has_come = False
        return has_come

    def _receive(self, data: bytes) -> None:
        claimed = self._opened(data)
        if not self._is_left:
            # It comes too late, and its place is taken.
            current().apart(lambda: self._give_back(claimed))
            return
        self._is_left, self._has_come = False, True
        self._came.append(_Came(claimed, self._lease_s, SYSTEM.monotonic()))
        if self._arrival is not None:
            self._arrival.wake()
        self._wake()

    async def _give_back(self, claimed: Claimed) -> None:
        with contextlib.suppress(BackendError):
            await self._queue.settle((Requeue(claimed, counts=False),))

    def _opened(self, data: bytes) -> Claimed:
        ends_us, name_size, record_size = _HEAD.unpack_from(data)
        body_at = _HEAD.size + name_size + record_size
        name, record = data[_HEAD.size : _HEAD.size + name_size], data[_HEAD.size + name_size : body_at]
        return self._queue.claimed_of(name, data[body_at:], record, int(ends_us))

    def pushed(self) -> Sequence[Pushed]:
        if not self._came:
            return ()
        came, self._came = self._came, []
        asked_s, now_us = self._asked
        found = []
        for claimed, lease_s, received_s in came:
            # By the server's clock since the last claim, because it may have lain here while this process was stopped;
            # and not longer than a lease, because that clock may have been set forward.
            until_s = min(received_s + lease_s, asked_s + (claimed.leased_until_us - now_us) / 1_000_000)
            if until_s > SYSTEM.monotonic():
                found.append(Pushed(claimed, until_s))
        return found

    async def close(self) -> None:
        if self._is_left or self._has_come:
            # If that fails the server may still have it, and it says so at the next claim.
            with contextlib.suppress(BackendError):
                await self._claimed(0, is_to_stay=False)
        # Not where it was cancelled: then it is closed once more, and the message that is on its way is still heard.
        if self._is_heard:
            self._is_heard = False
            del self._here.pushes[self._topic]
            self._here.listener.leave((self._topic,))
