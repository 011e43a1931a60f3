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

import base64
import contextlib
import datetime as dt
import json
import math
import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple

from nats.aio.msg import Msg

from sdpatterns.backends.nats.connection import Call, NatsConnection
from sdpatterns.backends.nats.server import NatsServer, answered
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
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class _Version(NamedTuple):
    """The sequence number decides; the rest is what to write again where the cell is only compared."""

    sequence: int
    data: bytes = b"0"
    kept_s: str = str(_GONE_S)


_ABSENT = _Version(0)


def _found(sequence: int | str, data: bytes, kept_s: str) -> Found:
    version = _Version(int(sequence), data, kept_s)
    last, bar, payload = data.partition(b"|")
    if not last.isdigit():
        return Found(version, CodecError(f"not a cell of this backend: {data[:40]!r}"), 0)
    return Found(version, payload if bar else None, int(last))


class NatsMap:
    """See `VersionedMap`. `shift_us` moves the server's time, for tests."""

    def __init__(self, server: NatsServer, here: Callable[[], NatsConnection]) -> None:
        self.shift_us = 0
        self._server = server
        self._here = here

    async def read(self, keys: Sequence[CellKey], /) -> Snapshot:
        calls = [self._ask(self._server.cell(*key)) for key in keys]
        calls.append(Call(f"$JS.API.STREAM.INFO.{self._server.prefix}"))
        try:
            *messages, info = await self._here().ask(calls)
        except Lost as lost:
            *messages, info = await repeat(lost, lambda: self._here().ask(calls), leaves_doubt=False)
        now = dt.datetime.fromisoformat(answered(self._server, info)["ts"])
        found = {key: self._parsed(message) for key, message in zip(keys, messages, strict=True)}
        return Snapshot(found, (now - _EPOCH) // _MICROSECOND + self.shift_us)

    def _ask(self, subject: str) -> Call:
        if self._server.replicas == 1:
            return Call(f"$JS.API.DIRECT.GET.{self._server.prefix}.{subject}")
        # By the stream's leader, because another replica may be behind.
        words = json.dumps({"last_by_subj": subject}).encode()
        return Call(f"$JS.API.STREAM.MSG.GET.{self._server.prefix}", words)

    def _parsed(self, message: Msg) -> Found | None:
        if self._server.replicas == 1:
            headers = message.headers or {}
            is_there = headers.get("Status") != "404"
            return _found(headers["Nats-Sequence"], message.data, headers.get("Nats-TTL", "")) if is_there else None
        said = answered(self._server, message).get("message")
        if said is None:
            return None
        lines = base64.b64decode(said.get("hdrs", "")).decode()
        kept_s = lines.partition("Nats-TTL: ")[2].partition("\r\n")[0]
        return _found(said["seq"], base64.b64decode(said.get("data", "")), kept_s)

    async def write(self, changes: Sequence[Change], topics: Sequence[str], /) -> Conflict | None:
        if changes:
            calls = [_publish(self._server.cell(*change.key), change) for change in changes]
            [answer] = await self._here().call_all(calls if len(calls) == 1 else _batch(calls))
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
    headers = {"Nats-Expected-Last-Subject-Sequence": str(version.sequence)}
    if kept_s:
        headers["Nats-TTL"] = kept_s
    return Call(subject, data, headers)


def _batch(calls: Sequence[Call]) -> list[Call]:
    """The same calls as one: the last one commits all, or tells that one of them was refused."""
    name, batch = secrets.token_hex(8), []
    for number, (subject, data, headers, _) in enumerate(calls, 1):
        of_batch = {**(headers or {}), "Nats-Batch-Id": name, "Nats-Batch-Sequence": str(number)}
        if number == len(calls):
            of_batch["Nats-Batch-Commit"] = "1"
        batch.append(Call(subject, data, of_batch, answers=number == len(calls)))
    return batch
