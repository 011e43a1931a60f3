"""One gRPC channel for an event loop, given up after any failure: gRPC itself would wait before it tries again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aetcd import rpc

from sdpatterns.backends.etcd.server import EtcdServer
from sdpatterns.core.clock import SYSTEM
from sdpatterns.ports.engine.failures import NotSent, ReplyLost
from sdpatterns.ports.engine.looped import away
from sdpatterns.ports.engine.reopened import Reopened
from sdpatterns.ports.pressure import Pressure

__all__ = ["OPERATIONS_MAX", "EtcdConnection", "EtcdLink", "put"]

OPERATIONS_MAX = 128
"""Of one transaction, by the server's default."""
_SIGNAL_KEPT_S = 60.0
_SETTLE_S = 0.02
_KEPT_MIN_S, _KEPT_MAX_S = 64, 2**31
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
# Any, because neither aetcd nor gRPC's generated code has types.


class EtcdLink:
    """A channel, and who we are on it."""

    def __init__(self, server: EtcdServer) -> None:
        self.is_open = True
        self.metadata: Any = None
        secure = server.credentials is not None
        self.channel: Any = (
            rpc.secure_channel(server.target, server.credentials, options=_OPTIONS)
            if secure
            else rpc.insecure_channel(server.target, options=_OPTIONS)
        )

    @classmethod
    async def opened(cls, server: EtcdServer) -> EtcdLink:
        """One that is logged in, where there is a user."""
        link = cls(server)
        if server.user is not None:
            name, password = server.user
            ask: Any = rpc.AuthStub(link.channel).Authenticate
            try:
                token = await ask(rpc.AuthenticateRequest(name=name, password=password), timeout=server.timeout_s)
            except BaseException:
                await link.close()
                raise
            link.metadata = (("token", token.token),)
        return link

    async def close(self) -> None:
        """Close it. What is under way on it is lost."""
        self.is_open = False
        await self.channel.close(None)
        # What is cancelled ends a moment later, and gRPC would tell a loop of it that may be closed by then.
        await asyncio.sleep(_SETTLE_S)


class EtcdConnection:
    """Calls the server."""

    def __init__(self, server: EtcdServer) -> None:
        self._server = server
        self._links = Reopened(lambda: EtcdLink.opened(server))
        self._leases: dict[int, tuple[int, float]] = {}
        self._busy = 0

    async def call(self, stub: Any, method: str, request: Any) -> Any:
        """The reply to one request. Raises `NotSent` or `ReplyLost`."""
        link: EtcdLink | None = None
        self._busy += 1
        try:
            link = await self._links.get()
            ask = getattr(stub(link.channel), method)
            return await ask(request, timeout=self._server.timeout_s, metadata=link.metadata)
        except rpc.AioRpcError as error:
            lost = self._server.lost(error)
            if isinstance(lost, ReplyLost) or not lost.apart:  # type: ignore[attr-defined]
                self._links.give_up(link)
                self._leases.clear()
            raise (lost if link is not None else NotSent(lost.cause, late=lost.is_late)) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            # gRPC cancels what is under way on a channel that is closed.
            if link is None or link.is_open or (task is not None and task.cancelling()):
                raise
            # Late, because the one that failed before has mostly waited as long as one may.
            raise ReplyLost(away("the connection was given up"), late=True) from None
        finally:
            self._busy -= 1

    async def transaction(self, compare: Sequence[Any], success: Sequence[Any], failure: Sequence[Any]) -> Any:
        """All of `success` if all comparisons hold, else all of `failure`."""
        request = rpc.TxnRequest(compare=compare, success=success, failure=failure)
        return await self.call(rpc.KVStub, "Txn", request)

    async def lease(self, keep_s: float) -> int:
        """A lease that lives for `keep_s` at least, and four times as long at most. Many cells share it."""
        bucket = _KEPT_MIN_S
        while bucket < min(keep_s, _KEPT_MAX_S):
            bucket *= 2
        lease, until = self._leases.get(bucket, (0, 0.0))
        if SYSTEM.monotonic() >= until:
            asked = SYSTEM.monotonic()
            granted = await self.call(rpc.LeaseStub, "LeaseGrant", rpc.LeaseGrantRequest(TTL=2 * bucket))
            lease = granted.ID
            # Some seconds less, because the server's clock may be a little faster.
            self._leases[bucket] = lease, asked + bucket * 0.9
        return lease

    async def notify(self, topics: Sequence[str]) -> None:
        """Write the signals, which the watchers hear."""
        try:
            lease = await self.lease(_SIGNAL_KEPT_S)
            for place in range(0, len(topics), OPERATIONS_MAX):
                puts = [self.signal(topic, lease) for topic in topics[place : place + OPERATIONS_MAX]]
                await self.transaction((), puts, ())
        except NotSent as lost:
            raise NotSent(lost.cause, late=lost.is_late, again=lost.again) from lost

    def signal(self, topic: str, lease: int) -> Any:
        """The operation that notifies a topic."""
        return put(self._server.signal(topic), topic.encode("utf-8", "surrogatepass"), lease)

    def pressure(self) -> Pressure:
        """How many calls are under way (they share the connection), and how often it failed."""
        return Pressure(int(self._busy > 0), 1, 0, self._links.errors)

    async def close(self) -> None:
        """Close it. The next call opens another one."""
        self._leases.clear()
        await self._links.close()


def put(key: bytes, value: bytes, lease: int) -> Any:
    """The operation that writes a key."""
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))
