"""A watch on the signals of the server, for an event loop: one stream for all topics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from aetcd import rpc

from sdpatterns.backends.etcd.connection import EtcdLink
from sdpatterns.backends.etcd.server import EtcdServer
from sdpatterns.errors import SdpatternsError
from sdpatterns.ports.engine.failures import NotSent
from sdpatterns.ports.engine.looped import NotedSource, away, failure_of
from sdpatterns.ports.engine.source import Hears, Source

__all__ = ["EtcdConnector"]


class EtcdConnector:
    """See `Connector`."""

    def __init__(self, server: EtcdServer) -> None:
        self._server = server
        self.timeout_s = server.timeout_s

    def channel_of(self, topic: str, /) -> str:
        """What the topic's keys begin with."""
        return self._server.channel(topic)

    async def open(self, listener: Hears, /) -> Source:
        """A channel of its own, and a watch on it."""
        source = _EtcdSource(await EtcdLink.opened(self._server), listener, self.timeout_s)
        try:
            # A channel connects at its first call: so it is known here whether there is a server.
            await source.prove()
        except BaseException:
            await source.close()
            raise
        source.start()
        return source

    def failure(self, error: Exception, /) -> Exception:
        """The server is away, or refuses."""
        if isinstance(error, SdpatternsError):
            return error
        lost = self._server.lost(error) if isinstance(error, rpc.AioRpcError) else NotSent(away(error))
        return failure_of(self._server.shown, lost)

    def is_refusal(self, error: Exception, /) -> bool:
        """Whether the server has said more than that it is away."""
        return isinstance(error, rpc.AioRpcError) and isinstance(self._server.lost(error).cause, SdpatternsError)


class _EtcdSource(NotedSource):
    """See `Source`."""

    def __init__(self, link: EtcdLink, listener: Hears, timeout_s: float) -> None:
        super().__init__()
        self._link = link
        self._listener = listener
        self._timeout_s = timeout_s
        self._channels: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        self._count = 0
        self._watch: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._broken: Exception | None = None

    def start(self) -> None:
        """Begin the watch."""
        stub: Any = rpc.WatchStub(self._link.channel)
        self._watch = stub.Watch(metadata=self._link.metadata)
        # In a task, because a read that is given up would end the stream.
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for said in self._watch:
                self._tell(said)
                self._news.set()
            self._broken = ConnectionResetError("the watch has ended")
        except rpc.AioRpcError as error:
            self._broken = error
        finally:
            self._news.set()

    def _tell(self, said: Any) -> None:
        if said.created and said.watch_id in self._channels:
            self._listener.confirmed(self._channels[said.watch_id])
        for event in said.events:
            if event.type == rpc.Event.PUT:
                self._listener.heard(event.kv.value.decode("utf-8", "surrogatepass"))

    async def change(self, add: Sequence[str], drop: Sequence[str], /) -> None:
        """Written to the stream; the server confirms each channel there."""
        for channel in drop:
            watch_id = self._ids.pop(channel, None)
            if watch_id is not None:
                del self._channels[watch_id]
                await self._watch.write(rpc.WatchRequest(cancel_request=rpc.WatchCancelRequest(watch_id=watch_id)))
        for channel in add:
            self._count += 1
            self._channels[self._count], self._ids[channel] = channel, self._count
            first = channel.encode()
            # Up to the character after the slash that ends it: all that begins so.
            wanted = rpc.WatchCreateRequest(key=first, range_end=first[:-1] + b"0", watch_id=self._count)
            await self._watch.write(rpc.WatchRequest(create_request=wanted))

    def broken(self) -> Exception | None:
        """What ended the watch."""
        return self._broken

    async def prove(self) -> None:
        """A small request on the same connection."""
        stub: Any = rpc.KVStub(self._link.channel)
        ask = rpc.RangeRequest(key=b"\0", count_only=True, serializable=True)
        await stub.Range(ask, timeout=self._timeout_s, metadata=self._link.metadata)

    async def close(self) -> None:
        """Close it."""
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({self._reader})
        await self._link.close()
