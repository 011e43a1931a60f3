"""What is known of the server: where it is, what keys mean there, what its refusals say."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any
from urllib.parse import urlsplit

from aetcd import rpc

from sdpatterns.core.ranges import seconds
from sdpatterns.errors import BackendError, BackendFull, BackendUnavailable
from sdpatterns.ports.engine.failures import Lost, NotSent, ReplyLost
from sdpatterns.ports.engine.looped import away

__all__ = ["EtcdServer"]

_FAILED_TO_CONNECT = ("failed to connect", "Connection refused", "connect failed", "DNS resolution failed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EtcdServer:
    """The settings of a backend. `credentials` are gRPC's, for TLS."""

    url: str
    prefix: str
    timeout_s: float
    credentials: Any

    def __post_init__(self) -> None:
        """Check them."""
        parts = urlsplit(self.url)
        if parts.scheme != "etcd" or not parts.hostname:
            raise ValueError("url must be like etcd://localhost:2379")
        if not self.prefix or not self.prefix.isascii():
            raise ValueError(f"prefix must be ASCII and not empty, got {self.prefix!r}")
        seconds("timeout_s", self.timeout_s)

    @property
    def target(self) -> str:
        """Host and port."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port or 2379}"

    @property
    def user(self) -> tuple[str, str] | None:
        """User and password."""
        parts = urlsplit(self.url)
        return (parts.username, parts.password or "") if parts.username else None

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return f"etcd://{self.user[0]}:***@{self.target}" if self.user else f"etcd://{self.target}"

    def cell(self, space: str, key: str) -> bytes:
        """The key of a cell. The length tells where the space ends."""
        return f"{self.prefix}/cell/{len(space)}/{space}/{key}".encode()

    def channel(self, topic: str) -> str:
        """What the keys of a topic's signals begin with; short, because a topic may be longer than a key should."""
        return f"{self.prefix}/signal/{_digest(topic.partition('#')[0])}/"

    def signal(self, topic: str) -> bytes:
        """The key of a topic's signals; the topic is the value."""
        return f"{self.channel(topic)}{_digest(topic)}".encode()

    def lost(self, error: Any) -> Lost:
        """What a failed call means. `error` is gRPC's."""
        code, words = error.code(), str(error.details())
        known, refuses = rpc.StatusCode, f"{self.shown} refuses: {words}"
        if code in {known.DEADLINE_EXCEEDED, known.UNAVAILABLE}:
            return self._unreached(late=code == known.DEADLINE_EXCEEDED, words=words)
        if "space exceeded" in words:
            return NotSent(BackendFull(f"{self.shown} is full: {words}; compact and defragment it, or raise its quota"))
        if "lease not found" in words or "invalid auth token" in words:
            return NotSent(BackendUnavailable(refuses), again=True)
        if code in {known.UNAUTHENTICATED, known.PERMISSION_DENIED, known.FAILED_PRECONDITION}:
            return NotSent(BackendUnavailable(f"{refuses}; correct the user, its password or its permissions"))
        if code in {known.INVALID_ARGUMENT, known.NOT_FOUND, known.OUT_OF_RANGE, known.RESOURCE_EXHAUSTED}:
            return NotSent(BackendError(refuses), apart=True)
        return ReplyLost(away(words))

    def _unreached(self, words: str, *, late: bool) -> Lost:
        if late:
            return ReplyLost(away(f"no answer within {self.timeout_s:g} s"), late=True)
        is_refused = any(sign in words for sign in _FAILED_TO_CONNECT)
        return NotSent(away(words)) if is_refused else ReplyLost(away(words))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
