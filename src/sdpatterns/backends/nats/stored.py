"""Messages that stand in a JetStream stream: what is asked for them, and what the answers say."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from nats.aio.msg import Msg

from sdpatterns.backends.nats.connection import Call, NatsConnection
from sdpatterns.backends.nats.server import NatsServer, answered
from sdpatterns.errors import BackendUnavailable

__all__ = [
    "Stored",
    "info_call",
    "instant_us",
    "last_call",
    "make_stream",
    "page_call",
    "pending_in",
    "stored_in",
    "told_in",
]

_IN_USE = 10058
"""The stream is there and is set otherwise."""
_PAGE_BYTES_MAX = 8_388_608
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class Stored(NamedTuple):
    """A message of a stream. `recorded` is when the server got it, as text."""

    subject: str
    sequence: int
    data: bytes
    recorded: str
    kept_s: str


def last_call(server: NatsServer, stream: str, subject: str) -> Call:
    """What asks for the last message of a subject, which may have wildcards. See `stored_in`."""
    if server.replicas == 1:
        return Call(f"$JS.API.DIRECT.GET.{stream}.{subject}")
    # By the stream's leader, because another replica may be behind.
    return Call(f"$JS.API.STREAM.MSG.GET.{stream}", json.dumps({"last_by_subj": subject}).encode())


def stored_in(server: NatsServer, answer: Msg) -> Stored | None:
    """The message that `last_call` found."""
    if server.replicas == 1:
        return told_in(answer)
    said = answered(server, answer).get("message")
    if said is None:
        return None
    lines = base64.b64decode(said.get("hdrs", "")).decode()
    kept_s = lines.partition("Nats-TTL: ")[2].partition("\r\n")[0]
    return Stored(said["subject"], said["seq"], base64.b64decode(said.get("data", "")), said["time"], kept_s)


def told_in(answer: Msg) -> Stored | None:
    """The message in the answer to a direct read, which any replica gives."""
    headers: Mapping[str, str] = answer.headers or {}
    if "Nats-Sequence" not in headers:
        return None
    sequence, kept_s = int(headers["Nats-Sequence"]), headers.get("Nats-TTL", "")
    return Stored(headers["Nats-Subject"], sequence, answer.data, headers["Nats-Time-Stamp"], kept_s)


def page_call(stream: str, begin: int, count: int, into: list[Msg], subject: str = "") -> Call:
    """What asks for up to `count` messages from the sequence number `begin` on; of one subject, or of all."""
    wanted: dict[str, object] = {"seq": begin, "batch": count, "max_bytes": _PAGE_BYTES_MAX}
    if subject:
        wanted["next_by_subj"] = subject
    return Call(f"$JS.API.DIRECT.GET.{stream}", json.dumps(wanted).encode(), into=into)


def pending_in(end: Msg) -> int:
    """How many messages stand behind the page that ended so."""
    return int((end.headers or {}).get("Nats-Num-Pending", 0))


def info_call(stream: str) -> Call:
    """What asks how the stream is set and what it holds; the answer has the server's time, too."""
    return Call(f"$JS.API.STREAM.INFO.{stream}")


def instant_us(text: str) -> int:
    """The server's words for an instant, in microseconds since 1970."""
    return (dt.datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND


async def make_stream(server: NatsServer, connection: NatsConnection, wanted: Mapping[str, Any]) -> None:
    """Make a stream, or see that the one that is there is fit."""
    name = wanted["name"]
    [made] = await connection.call_all([Call(f"$JS.API.STREAM.CREATE.{name}", json.dumps(wanted).encode())])
    if json.loads(made.data).get("error", {}).get("err_code") == _IN_USE:
        [made] = await connection.call_all([info_call(name)])
    found = answered(server, made)["config"]
    wrong = [field for field, value in wanted.items() if found.get(field, False) != value]
    if wrong:
        words = [f"{field} is {found.get(field, False)!r} and must be {wanted[field]!r}" for field in wrong]
        raise BackendUnavailable(f"stream {name!r} at {server.shown}: {'; '.join(words)}")
