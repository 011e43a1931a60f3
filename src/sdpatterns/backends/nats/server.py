"""What is known of the server: where it is, what names and headers mean there, what its refusals say."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Awaitable, Mapping
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from nats.aio.msg import Msg

from sdpatterns.core.ranges import seconds, whole
from sdpatterns.errors import BackendError, BackendFull, BackendUnavailable, OutcomeUnknown
from sdpatterns.ports.engine.failures import Lost, NotSent, ReplyLost
from sdpatterns.ports.engine.looped import failure_of

__all__ = ["NatsServer", "answered", "told", "word_of"]

_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WORD_MAX = 1400
_STREAM_WORD_MAX = 160
_ANSWERS = frozenset({10037, 10071, 10164, 10210})
"""`no message found`; `wrong last sequence` of one message and inside a batch; too many batches of others at once."""
_FULL = frozenset({10023, 10047, 10077, 10119, 10122})
"""The stream, the account or the disk has no more room."""
_NO_STREAM = 10059


T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NatsServer:
    """The settings of a backend."""

    urls: tuple[str, ...]
    prefix: str
    replicas: int
    timeout_s: float
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Check them."""
        if not self.urls or not all(urlsplit(url).scheme in {"nats", "tls", "ws", "wss"} for url in self.urls):
            raise ValueError("url must be like nats://localhost:4222, or several of them with commas between")
        if _PREFIX.fullmatch(self.prefix) is None:
            raise ValueError(f"prefix must be 1 to 64 letters, digits, '-' and '_', got {self.prefix!r}")
        whole("replicas", self.replicas, 1, 5)
        seconds("timeout_s", self.timeout_s)

    @cached_property
    def shown(self) -> str:
        """The URLs without passwords and tokens."""
        return ",".join(map(_without_secrets, self.urls))

    def cell(self, space: str, key: str) -> str:
        """The subject of a cell: different cells have different ones."""
        return f"{self.prefix}.cell.{word_of(space)}.{word_of(key)}"

    def channel(self, topic: str) -> str:
        """The subject of a topic. A digest, because a topic may be longer than a subject; the topic is the message."""
        digest = hashlib.blake2b(topic.partition("#")[0].encode("utf-8", "surrogatepass"), digest_size=16)
        return f"{self.prefix}.signal.{digest.hexdigest()}"

    def log(self, name: str) -> tuple[str, str]:
        """The stream of a log, and what its subjects begin with."""
        word = quote(name, safe="").replace(".", "%2E")
        if len(word) > _STREAM_WORD_MAX:
            word = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
        # No prefix has the character between, so that no stream of cells is called so.
        return f"{self.prefix}={word}", f"{self.prefix}.log.{word}"

    def stream(self) -> dict[str, Any]:
        """How the stream of the cells has to be set."""
        return {
            "name": self.prefix,
            "subjects": [f"{self.prefix}.cell.>"],
            "max_msgs_per_subject": 1,
            "allow_msg_ttl": True,
            # Any replica answers a direct read, also one that is behind.
            "allow_direct": self.replicas == 1,
            **self._both,
        }

    def log_stream(self, name: str) -> dict[str, Any]:
        """How the stream of a log has to be set."""
        stream, subject = self.log(name)
        return {
            "name": stream,
            "subjects": [subject, f"{subject}.*.*"],
            "allow_rollup_hdrs": True,
            "allow_direct": True,
            **self._both,
        }

    @property
    def _both(self) -> dict[str, Any]:
        # A full stream must refuse what is new, and not drop what it has.
        return {"discard": "new", "num_replicas": self.replicas, "allow_atomic": True}


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    # Without a colon it is a token.
    return urlunsplit((parts.scheme, f"{name + colon if colon else ''}***@{host}" if at else host, "", "", ""))


def word_of(text: str) -> str:
    """A text as one token of a subject: readable if it is short, and no longer than a subject bears."""
    quoted = quote(text, safe=":/").replace(".", "%2E")
    if text and len(quoted) <= _WORD_MAX // 2:
        return quoted
    # No quoted text begins so.
    return "=" + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def answered(server: NatsServer, message: Msg) -> dict[str, Any]:
    """What JetStream said. Raises `NotSent` for a refusal that is neither a lost race nor a missing message."""
    said: dict[str, Any] = json.loads(message.data) if message.data else {}
    error = said.get("error")
    if error is None or error.get("err_code") in _ANSWERS:
        return said
    words, code = error.get("description", ""), error.get("err_code")
    if code in _FULL:
        stream = said.get("stream", server.prefix)
        raise NotSent(BackendFull(f"{server.shown} is full: {words}; raise the limits of stream {stream!r}"))
    if code == _NO_STREAM:
        words += f"; await backend.create() makes the stream {server.prefix!r}"
    kind = BackendUnavailable if error.get("code", 500) >= 500 or code == _NO_STREAM else BackendError
    # It may be the fault of one step in a batch.
    raise NotSent(kind(f"{server.shown} refuses: {words} ({code})"), apart=True)


async def told(server: NatsServer, work: Awaitable[T]) -> T:
    """What the work gives. Where it fails, its caller is told in the words of a port."""
    try:
        return await work
    except ReplyLost as lost:
        raise OutcomeUnknown(f"{server.shown}: the reply was lost ({lost})") from lost
    except Lost as lost:
        raise failure_of(server.shown, lost) from lost
