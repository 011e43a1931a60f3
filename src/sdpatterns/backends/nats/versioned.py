"""Cells in a JetStream stream as a versioned map.

A cell is the last message of its subject, `<last_us>|<payload>`, and the message's sequence number is its
version: a stream gives no number twice. A dropped cell is `<last_us>` for a minute, then nothing.

```
read     the last message of each subject, and the stream's `ts`: the server's clock      one trip
write    one message, if its subject's last one is still that                             one trip
         several: an atomic batch; what is only compared is written again as it was       one trip
```
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sdpatterns.backends.nats.connection import EXPECTED, Call, NatsConnection, batch_of
from sdpatterns.backends.nats.server import NatsServer, answered
from sdpatterns.backends.nats.stored import Stored, info_call, instant_us, last_call, stored_in
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.errors import CodecError
from sdpatterns.ports.engine.failures import Lost, repeat
from sdpatterns.ports.engine.steps import CellKey, Change, Found, Snapshot
from sdpatterns.ports.engine.versioned import Conflict

__all__ = ["NatsMap"]

SLACK_S = 5
"""Seconds that a cell is kept beyond its time: the server's clock may be stepped."""
_GONE_S = 60
_KEPT_MAX_S = 3_000_000_000


class _Version(NamedTuple):
    """The sequence number decides; the rest is what to write again where the cell is only compared."""

    sequence: int
    data: bytes = b"0"
    kept_s: str = str(_GONE_S)


_ABSENT = _Version(0)


def _found(cell: Stored) -> Found:
    version = _Version(cell.sequence, cell.data, cell.kept_s)
    last, bar, payload = cell.data.partition(b"|")
    if not last.isdigit():
        return Found(version, CodecError(f"not a cell of this backend: {cell.data[:40]!r}"), 0)
    return Found(version, payload if bar else None, int(last))


class NatsMap:
    """See `VersionedMap`. `shift_us` moves the server's time, for tests."""

    def __init__(self, server: NatsServer, here: Callable[[], NatsConnection]) -> None:
        self.shift_us = 0
        self._server = server
        self._here = here

    async def read(self, keys: Sequence[CellKey], /) -> Snapshot:
        stream = self._server.prefix
        calls = [last_call(self._server, stream, self._server.cell(*key)) for key in keys]
        calls.append(info_call(stream))
        try:
            *messages, info = await self._here().ask(calls)
        except Lost as lost:
            *messages, info = await repeat(lost, lambda: self._here().ask(calls), leaves_doubt=False)
        now_us = instant_us(answered(self._server, info)["ts"])
        stored = [stored_in(self._server, message) for message in messages]
        found = {key: each and _found(each) for key, each in zip(keys, stored, strict=True)}
        return Snapshot(found, now_us + self.shift_us)

    async def write(self, changes: Sequence[Change], topics: Sequence[str], /) -> Conflict | None:
        if changes:
            calls = [_publish(self._server.cell(*change.key), change) for change in changes]
            [answer] = await self._here().call_all(batch_of(calls))
            if "error" in answered(self._server, answer):
                return Conflict([change.key for change in changes])
        heard = dict.fromkeys([*topics, *(topic for change in changes for topic in change.topics)])
        if heard:
            # The step is written: what fails now is a signal that was lost.
            with contextlib.suppress(Lost):
                await self._here().notify(list(heard))
        return None


def _publish(subject: str, change: Change) -> Call:
    version: _Version = change.expected or _ABSENT
    if change.payload is UNCHANGED:
        data, kept_s = version.data, version.kept_s
    elif change.payload is GONE:
        data, kept_s = b"%d" % change.last_us, str(_GONE_S)
    else:
        data = b"%d|%b" % (change.last_us, change.payload)
        kept_s = str(min(math.ceil(max(change.keep_s, 0.0)) + SLACK_S, _KEPT_MAX_S))
    headers = {EXPECTED: str(version.sequence)}
    if kept_s:
        headers["Nats-TTL"] = kept_s
    return Call(subject, data, headers)
