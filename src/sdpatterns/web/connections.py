"""A pool of connections that no cancelled request can damage.

```
request --> [ slots: one at a time each ] --> transport with one connection
                 read to its end, closed: the slot is free again
                 cancelled, failed, left: its transport is closed, and the next request opens another
```

The pools of the libraries close and assign connections in steps with an `await` between them, and a cancelled
request leaves a step half done: with httpcore 1.0.9 a place is lost for good, with httpcore2 2.16 sockets stay open
that no one owns. A transport of one connection that is closed with its request has no such step. Here everything
that counts happens without an `await`, so a cancellation finds nothing half done.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeAlias

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import with_deadline
from sdpatterns.core.outcome import Outcome
from sdpatterns.errors import BulkheadFull
from sdpatterns.resilience.bulkhead import Bulkhead
from sdpatterns.web.sockets import close_broken_handshakes

__all__ = ["LentStream", "Slots"]

Origin: TypeAlias = tuple[str, str, int | None]

_WAITING_MAX = 10_000
_SLOTS_MAX = 1_000_000


class _Slot:
    """A transport with one connection, and since when it is free."""

    __slots__ = ("free_since_s", "origin", "transport")

    def __init__(self, transport: Any, origin: Origin) -> None:
        self.transport = transport
        self.origin = origin
        self.free_since_s = 0.0


class Slots:
    """At most `slots_max` connections; at most `idle_max` of them stay open when they are free.

    **Keeps**: first come, first served for those who wait; a connection serves one request at a time,
    so HTTP/2 is not multiplexed; a free connection is used for its origin only, and closed `idle_s`
    after its last request, when the next request of any origin begins or ends.

    **May fail** with what `too_late` gives: no slot within the request's time, or too many wait.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        *,
        slots_max: int | None,
        idle_max: int | None,
        idle_s: float | None,
        too_late: Callable[[str], Exception],
        lent: Callable[..., Any],
    ) -> None:
        self._make = make
        self._slots_max = _SLOTS_MAX if slots_max is None else slots_max
        self._idle_max = self._slots_max if idle_max is None else idle_max
        self._idle_s = float("inf") if idle_s is None else idle_s
        self._too_late = too_late
        self._lent = lent
        self._places = Bulkhead("connections", concurrent_max=self._slots_max, queue_max=_WAITING_MAX)
        self._busy: set[_Slot] = set()
        self._idle: OrderedDict[_Slot, None] = OrderedDict()  # the one that is free for longest comes first
        self._idle_by_origin: dict[Origin, deque[_Slot]] = {}

    async def send(self, request: Any) -> Any:
        """The answer to one request; its slot is free when its body is closed."""
        slot = await self._take(request)
        close_broken_handshakes(request)
        try:
            response = await slot.transport.handle_async_request(request)
        except BaseException:
            await self.drop(slot)
            raise
        response.stream = self._lent(response.stream, self, slot)
        return response

    async def _take(self, request: Any) -> _Slot:
        wait_s = request.extensions.get("timeout", {}).get("pool")
        try:
            with nullcontext() if wait_s is None else with_deadline(wait_s):
                await self._places.enter("")
        except BulkheadFull:
            raise self._too_late(
                f"no connection was free in time: all {self._slots_max} are in use;"
                " raise max_connections, or send fewer requests at once"
            ) from None
        url = request.url
        origin = (url.scheme, url.host, url.port)
        slot, surplus = self._free(origin), self._surplus(self._slots_max - len(self._busy) - 1)
        self._busy.add(slot)
        if surplus:
            try:
                await _close(surplus)
            except BaseException:
                await self.drop(slot)
                raise
        return slot

    def _free(self, origin: Origin) -> _Slot:
        """The slot of this origin that was used last, or a new one."""
        found = self._idle_by_origin.get(origin)
        if not found:
            return _Slot(self._make(), origin)
        slot = found.pop()
        if not found:
            del self._idle_by_origin[origin]
        del self._idle[slot]
        return slot

    def _surplus(self, idle_max: int) -> list[_Slot]:
        """Take out the free slots that are too many or too old."""
        old_s = SYSTEM.monotonic() - self._idle_s
        surplus: list[_Slot] = []
        while self._idle:
            slot = next(iter(self._idle))
            if len(self._idle) <= idle_max and slot.free_since_s >= old_s:
                break
            del self._idle[slot]
            siblings = self._idle_by_origin[slot.origin]
            siblings.popleft()
            if not siblings:
                del self._idle_by_origin[slot.origin]
            surplus.append(slot)
        return surplus

    async def give_back(self, slot: _Slot) -> None:
        """The answer was read to its end and closed: the connection may serve another request."""
        if slot not in self._busy:
            return
        self._busy.remove(slot)
        slot.free_since_s = SYSTEM.monotonic()
        self._idle[slot] = None
        self._idle_by_origin.setdefault(slot.origin, deque()).append(slot)
        surplus = self._surplus(self._idle_max)
        self._places.leave("", Outcome.SUCCESS, None)
        if surplus:
            await _close(surplus)

    async def drop(self, slot: _Slot) -> None:
        """Close the connection: what became of its request is not known."""
        if slot not in self._busy:
            return
        self._busy.remove(slot)
        try:
            await slot.transport.aclose()
        finally:
            self._places.leave("", Outcome.FAILURE, None)

    async def aclose(self) -> None:
        """Close all connections, those in use too."""
        idle = list(self._idle)
        self._idle.clear()
        self._idle_by_origin.clear()
        try:
            await _close(idle)
        finally:
            for slot in list(self._busy):
                await self.drop(slot)


async def _close(slots: Sequence[_Slot]) -> None:
    """Close each, though the caller is cancelled meanwhile; then raise what came first."""
    failed: BaseException | None = None
    for slot in slots:
        try:
            # Even in a cancelled task this closes the socket before it first suspends.
            await slot.transport.aclose()
        except BaseException as error:  # noqa: BLE001 - raised once all are closed
            failed = failed or error
    if failed is not None:
        raise failed


class LentStream:
    """The body of an answer on a slot. Closed after its end it frees the slot, else it drops it."""

    def __init__(self, body: Any, slots: Slots, slot: _Slot) -> None:
        self._body = body
        self._slots = slots
        self._slot = slot
        self._is_whole = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            yield chunk
        self._is_whole = True

    async def aclose(self) -> None:
        """Close the answer, and give its slot back."""
        try:
            await self._body.aclose()
        except BaseException:
            await self._slots.drop(self._slot)
            raise
        if self._is_whole:
            await self._slots.give_back(self._slot)
        else:
            await self._slots.drop(self._slot)
