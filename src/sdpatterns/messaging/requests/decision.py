"""The reply to one request, in a cell of its own: pure, no clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from sdpatterns.core.codec import JsonCodec
from sdpatterns.core.step import Repeats, Step, unchanged

__all__ = ["REPLIES", "PutReply", "Reply"]


class Reply(NamedTuple):
    """What the handler returned, as bytes; or why it failed, and no value."""

    value: bytes | None
    reason: str = ""


def _dump(reply: Reply) -> list[Any]:
    return [reply.value, reply.reason]


def _load(found: list[Any]) -> Reply:
    return Reply(*found)


REPLIES: JsonCodec[Reply] = JsonCodec(_dump, _load)
"""How a reply is written."""


class PutReply:
    """Write the reply, unless there is one: of two responders that worked on one request, the first one counts."""

    __slots__ = ("keep_s", "reply", "wake")
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, reply: Reply, keep_s: float, wake: Sequence[str]) -> None:
        self.reply = reply
        self.keep_s = keep_s
        self.wake = wake

    def __call__(self, states: Sequence[Reply | None], now_us: int, /) -> Step[Reply, None]:
        """A second reply changes nothing."""
        [state] = states
        if state is not None:
            return unchanged(None)
        return (self.reply,), None, (self.keep_s,), self.wake
