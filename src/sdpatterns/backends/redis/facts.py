"""What a server says of itself, asked by the commands that its user may run."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.failures import NotSent, code_of
from sdpatterns.backends.redis.protocol import pack
from sdpatterns.backends.redis.sender import Sender

__all__ = ["Facts", "facts_of"]


class Facts(NamedTuple):
    """Its release and its kind; None for what its user may not ask."""

    version: tuple[int, ...] | None = None
    is_cluster: bool | None = None


async def facts_of(sender: Sender) -> Facts:
    """By `INFO`, where that is forbidden by `HELLO`, and else by `PING` that it answers.

    Raises `Lost` or redis-py's `ResponseError`.
    """
    info = await _permitted(sender, "INFO")
    if info is not None:
        lines = info.decode(errors="replace").splitlines()
        known = dict(line.split(":", 1) for line in lines if ":" in line)
        return Facts(_version(known.get("redis_version", "")), known.get("cluster_enabled") == "1")
    hello = await _permitted(sender, "HELLO")
    if hello is not None:
        known = {_text(name): _text(value) for name, value in zip(hello[::2], hello[1::2], strict=False)}
        return Facts(_version(known.get("version", "")), known.get("mode") == "cluster")
    await _permitted(sender, "PING")
    return Facts()


async def _permitted(sender: Sender, word: str) -> Any:
    """The reply, or None where the server's user may not ask."""
    try:
        return await sender.call(pack(word), b"")
    except (NotSent, ResponseError) as error:
        cause = error.cause if isinstance(error, NotSent) else error
        # A managed server may have taken the command away instead ("ERR unknown command").
        if isinstance(cause, ResponseError) and (code_of(cause) == "NOPERM" or "unknown command" in str(cause)):
            return None
        raise


def _version(text: str) -> tuple[int, ...] | None:
    found = re.match(r"(\d+)\.(\d+)", text)
    return None if found is None else (int(found[1]), int(found[2]))


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
