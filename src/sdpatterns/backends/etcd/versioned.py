"""Cells in etcd as a versioned map.

A cell is one key whose value is `<last_us>|<payload>`. Its version is the revision in which it was written, which
etcd never gives twice; 0 for no cell.

```
read     one transaction of reads
write    one transaction: if all revisions are as they were, write and signal; else read what stands there
```
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from aetcd import rpc

from sdpatterns.backends.etcd.connection import OPERATIONS_MAX, EtcdConnection, put
from sdpatterns.backends.etcd.server import EtcdServer
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.errors import CodecError
from sdpatterns.ports.engine.failures import Lost, NotSent, repeat
from sdpatterns.ports.engine.steps import CellKey, Change, Found, Snapshot
from sdpatterns.ports.engine.versioned import Conflict

__all__ = ["EtcdMap"]

_SLACK_S = 5.0


class EtcdMap:
    """See `VersionedMap`. The time is this machine's; `shift_us` moves it, for tests."""

    def __init__(self, server: EtcdServer, here: Callable[[], EtcdConnection]) -> None:
        self.shift_us = 0
        self._server = server
        self._here = here

    async def read(self, keys: Sequence[CellKey], /) -> Snapshot:
        found: dict[CellKey, Found | None] = {}
        for place in range(0, len(keys), OPERATIONS_MAX):
            part = keys[place : place + OPERATIONS_MAX]
            try:
                reply = await self._looked(part)
            except Lost as lost:
                reply = await repeat(lost, partial(self._looked, part), leaves_doubt=False)
            found.update(_found_in(reply, part))
        return self._snapshot(found)

    async def write(self, changes: Sequence[Change], topics: Sequence[str], /) -> Conflict | None:
        here = self._here()
        heard = list(dict.fromkeys([*topics, *(topic for change in changes for topic in change.topics)]))
        if not changes:
            await here.notify(heard)
            return None
        try:
            operations = [await self._operation(here, change) for change in changes if change.payload is not UNCHANGED]
            lease = await here.lease(0.0) if heard else 0
        except Lost as lost:
            # Nothing is written yet, whatever became of the lease.
            raise NotSent(lost.cause, late=lost.is_late, again=True) from lost
        room = max(OPERATIONS_MAX - len(operations), 0)
        operations += [here.signal(topic, lease) for topic in heard[:room]]
        keys = [change.key for change in changes]
        reply = await here.transaction(
            [self._as_found(change) for change in changes], operations, [self._look(key) for key in keys]
        )
        if not reply.succeeded:
            return Conflict(keys, self._snapshot(_found_in(reply, keys)))
        if heard[room:]:
            await here.notify(heard[room:])
        return None

    async def _looked(self, keys: Sequence[CellKey]) -> Any:
        return await self._here().transaction((), [self._look(key) for key in keys], ())

    def _look(self, key: CellKey) -> Any:
        return rpc.RequestOp(request_range=rpc.RangeRequest(key=self._server.cell(*key)))

    def _as_found(self, change: Change) -> Any:
        return rpc.Compare(
            key=self._server.cell(*change.key),
            target=rpc.Compare.MOD,
            result=rpc.Compare.EQUAL,
            mod_revision=change.expected or 0,
        )

    async def _operation(self, here: EtcdConnection, change: Change) -> Any:
        key, payload = self._server.cell(*change.key), change.payload
        if payload is GONE or payload is UNCHANGED:
            return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))
        lease = await here.lease(max(change.keep_s, 0.0) + _SLACK_S)
        return put(key, b"%d|%b" % (change.last_us, payload), lease)

    def _snapshot(self, found: Mapping[CellKey, Found | None]) -> Snapshot:
        # The machine's clock as it is now, which NTP keeps near the others': see `Skewed`.
        return Snapshot(found, time.time_ns() // 1000 + self.shift_us)


def _found_in(reply: Any, keys: Sequence[CellKey]) -> dict[CellKey, Found | None]:
    ranges = [response.response_range.kvs for response in reply.responses]
    return {key: _found(kvs[0]) if kvs else None for key, kvs in zip(keys, ranges, strict=True)}


def _found(kv: Any) -> Found:
    last, bar, payload = kv.value.partition(b"|")
    if not bar or not last.isdigit():
        return Found(kv.mod_revision, CodecError(f"not a cell of this backend: {kv.value[:40]!r}"), 0)
    return Found(kv.mod_revision, payload, int(last))
