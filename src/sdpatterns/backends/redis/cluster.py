"""The way to the right node of a cluster.

```
key --> slot (crc16 of its hash tag) --> node --> its sender
         MOVED: the slot lives elsewhere, for good      ASK: this once      NotSent: ask the others
```
A redirected command has done nothing, so it is always sent again.
Source: the Redis Cluster specification.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redis.crc import key_slot
from redis.exceptions import ResponseError

from sdpatterns.backends.redis.failures import Lost, NotSent, code_of
from sdpatterns.backends.redis.protocol import Asking, pack
from sdpatterns.backends.redis.sender import MakeBatcher, Sender
from sdpatterns.backends.redis.server import Node, Server
from sdpatterns.ports.pressure import Pressure, sum_of

__all__ = ["ClusterSender"]

_SLOTS = 16384
_TRIES_MAX = 16
_PAUSE_S = 0.05


class ClusterSender:
    """One sender for each node, and which node serves which slot."""

    def __init__(
        self, seed: Sender, connect_to: Callable[[Node], Sender], make_batcher: MakeBatcher, server: Server
    ) -> None:
        self._server = server
        self._connect_to = connect_to
        self._seed = seed
        self._senders: dict[Node, Sender] = {}
        self._slots: list[Node | None] = [None] * _SLOTS
        self._lessons = make_batcher(self._learn)

    async def call(self, command: bytes, key: bytes, /) -> Any:
        """The reply of the node that serves `key`."""
        slot = key_slot(key)
        for attempt in range(_TRIES_MAX):
            node = self._slots[slot] or await self._lessons.run(slot)
            try:
                return await self._sender(node).call(command, key)
            except NotSent as away:
                # Perhaps another node has taken its slots over; if no node knows of that, it is away.
                if attempt == _TRIES_MAX - 1 or await self._lessons.run(slot) == node:
                    raise NotSent(f"node {node[0]}:{node[1]}: {away}") from None
            except ResponseError as error:
                if attempt == _TRIES_MAX - 1:
                    raise
                code = code_of(error)
                # The slot is moving: this key is there already, and the slot still belongs here.
                if code == "ASK":
                    return await self._sender(_node_in(error, node)).call(Asking(pack("ASKING") + command), key)
                if code == "MOVED":
                    # Only this slot: to ask for all at each redirect would flood the cluster while it moves slots.
                    self._slots[slot] = _node_in(error, node)
                elif code in {"TRYAGAIN", "CLUSTERDOWN"}:
                    await self._server.runtime.sleep(_PAUSE_S * (0.5 + self._server.random()))
                else:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def call_all(self, commands: Sequence[tuple[bytes, bytes]], /) -> list[Any]:
        """The replies to several commands, one node after another."""
        return [await self.call(command, key) for command, key in commands]

    def _sender(self, node: Node) -> Sender:
        found = self._senders.get(node)
        if found is None:
            # Two threads may come here at once. The connections of the one that loses were never opened.
            found = self._senders.setdefault(node, self._connect_to(node))
        return found

    async def _learn(self, slots: Sequence[int]) -> Sequence[Node]:
        """Ask any node that answers who serves what; the node of each slot asked for."""
        lost: Lost = NotSent("no node of the cluster answers")
        for sender in (self._seed, *self._senders.values()):
            try:
                ranges = await sender.call(pack("CLUSTER", "SLOTS"), b"")
            except Lost as away:
                lost = away
                continue
            self._note(ranges)
            return [self._served(slot) for slot in slots]
        raise NotSent(lost.cause)

    def _note(self, ranges: Sequence[Any]) -> None:
        for first, last, master, *_ in ranges:
            node = (master[0].decode(), int(master[1]))
            self._slots[first : last + 1] = [node] * (last + 1 - first)

    def _served(self, slot: int) -> Node:
        node = self._slots[slot]
        if node is None:
            raise NotSent(f"no node of the cluster serves slot {slot}")
        return node

    def pressure(self) -> Pressure:
        """How busy its senders are, together."""
        return sum_of(sender.pressure() for sender in (self._seed, *tuple(self._senders.values())))

    async def close(self) -> None:
        """Close all senders."""
        for sender in (self._seed, *self._senders.values()):
            await sender.close()


def _node_in(error: ResponseError, node: Node) -> Node:
    # "MOVED 3999 127.0.0.1:6381"; an empty host means the one that answered.
    host, _, port = str(error).rsplit(" ", 1)[-1].rpartition(":")
    return (host.strip("[]") or node[0], int(port))
