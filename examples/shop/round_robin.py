"""Which replica of a service is asked."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Sequence

import httpx2

from sdpatterns.web.outgoing import Outgoing
from shop.stage.release import SHARE_HEADER

_LEFT_ALONE_S = 1.0
LEAVES_S = 5.0  # longer than a replica that is leaving goes on to answer


class RoundRobinTransport(httpx2.AsyncBaseTransport):
    """Calls spread over the replicas of a service, one after the other; `addresses` says where they are now.

    A replica that cannot be reached is left alone for a moment and the next one asked; so it is when the
    connection breaks under a request that may be repeated: by its method (RFC 9110, 9.2.2), or because it has an
    Idempotency-Key. Who is alone is asked a second time: what broke may have been an old connection. A replica that
    closes a connection after its answer, as one does that is about to end, is left alone for as long as it may still
    answer: no request is then on its way to it when it closes its port. One whose last answer asked for a share of
    the traffic gets that share, and the others share the rest. The library's balancer, which also knows how busy and
    how well each replica is, will take this place.
    """

    def __init__(
        self,
        addresses: Callable[[], Sequence[str]],
        inner: httpx2.AsyncBaseTransport,
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._addresses = addresses
        self._now_s = now_s
        self._known: Sequence[str] = ()
        self._targets: list[httpx2.URL] = []
        self._inner = inner
        self._turn = secrets.randbelow(1_000)  # many callers do not begin with the same
        self._away_until: dict[httpx2.URL, float] = {}
        self._shares: dict[httpx2.URL, float] = {}
        self._due = random.random()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer of the first replica that gives one."""
        *others, last = self._by_turn()
        for target in others:
            try:
                return await self._send(request, target)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                self._leave_alone(target)
            except (httpx2.NetworkError, httpx2.RemoteProtocolError):
                self._leave_alone(target)
                if not Outgoing.may_repeat(request.method, request.headers):
                    raise
        return await self._send(request, last)

    def _by_turn(self) -> list[httpx2.URL]:
        """Whom to ask, the one whose turn it is first, and those that were away a moment ago last."""
        addresses = self._addresses()
        if addresses is not self._known:
            self._known, self._targets = addresses, [httpx2.URL(address) for address in addresses]
            self._away_until = {target: self._away_until.get(target, 0.0) for target in self._targets}
        if len(self._targets) == 1:
            return self._targets * 2
        due = [target for target in self._targets if self._is_due(self._shares.get(target, 0.0))]
        equal = [target for target in self._targets if target not in self._shares]
        if not due:  # else the next of the others would lose its turn
            self._turn += 1
        start = self._turn % max(1, len(equal))
        spare = [target for target in self._targets if target in self._shares and target not in due]
        now = self._now_s()
        return sorted([*due, *equal[start:], *equal[:start], *spare], key=lambda each: self._away_until[each] > now)

    def _is_due(self, share: float) -> bool:
        """Whether the next request belongs to that share: of 100 requests, exactly 5 belong to a share of 5 %."""
        self._due += share
        is_due = self._due >= 1
        self._due -= is_due
        return is_due

    async def _send(self, request: httpx2.Request, target: httpx2.URL) -> httpx2.Response:
        if (request.url.host, request.url.port) != (target.host, target.port):
            request.url = request.url.copy_with(host=target.host, port=target.port)
        response = await self._inner.handle_async_request(request)
        if response.headers.get("connection") == "close":
            self._leave_alone(target, LEAVES_S)
        elif share := float(response.headers.get(SHARE_HEADER, 0)):
            self._shares[target] = share
        else:
            self._shares.pop(target, None)
        return response

    def _leave_alone(self, target: httpx2.URL, for_s: float = _LEFT_ALONE_S) -> None:
        self._shares.pop(target, None)  # what answers there next may be another release
        if target in self._away_until:  # it may have gone from the list meanwhile
            self._away_until[target] = self._now_s() + for_s

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()
