"""Jobs that follow other jobs: one after another, or one after all of a group.

What follows is in the queue before its predecessor is settled. So a crash in between makes it follow again, with the
same id, and never not at all.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from sdpatterns.core.codec import JsonCodec
from sdpatterns.core.ranges import whole
from sdpatterns.core.step import Repeats, Step, unchanged
from sdpatterns.ports.queue import Message

__all__ = ["GROUPS", "GROUP_MAX", "GroupState", "MemberDone", "StartGroup", "chain", "following", "in_group", "member"]

GROUP_MAX = 10_000
"""The most members of one group: their ids stand in one cell."""
_THEN, _GROUP = "then", "group"
_KEEP_S = 30 * 86_400.0


def chain(*messages: Message) -> Message:
    """Jobs that run one after another, each when the one before has returned: `jobs.publish([chain(a, b, c)])`.

    A job that is parked ends the chain there; it goes on when the dead letter is redriven and returns. What follows
    travels in the headers of the first message, so that all of it has to fit there: 16,384 bytes.
    """
    whole("chain", len(messages), 1, 1000)
    first, *rest = messages
    if not rest:
        return first
    return dataclasses.replace(first, headers={**first.headers, _THEN: json.dumps([_packed(it) for it in rest])})


def following(headers: dict[str, str]) -> Message | None:
    """The message that follows one with these headers in a chain, with the rest of the chain."""
    if _THEN not in headers:
        return None
    first, *rest = json.loads(headers[_THEN])
    message = _unpacked(first)
    if not rest:
        return message
    return dataclasses.replace(message, headers={**message.headers, _THEN: json.dumps(rest)})


def in_group(headers: dict[str, str]) -> str | None:
    """The id of the group of a message with these headers."""
    return headers.get(_GROUP)


def member(message: Message, group_id: str) -> Message:
    """The message as a member of a group."""
    return dataclasses.replace(message, headers={**message.headers, _GROUP: group_id})


def _packed(message: Message) -> dict[str, Any]:
    plain = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
    return {**plain, "payload": base64.b64encode(message.payload).decode(), "headers": dict(message.headers)}


def _unpacked(found: dict[str, Any]) -> Message:
    return Message(**{**found, "payload": base64.b64decode(found["payload"])})


class GroupState(NamedTuple):
    """The cell of a group: how many members it has, which of them are done, and what follows."""

    total: int
    done: list[str]
    then: str


GROUPS: JsonCodec[GroupState] = JsonCodec(list, lambda found: GroupState(*found))
"""How a group is written."""


class StartGroup:
    """Note the group before its members are published."""

    __slots__ = ("state",)
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, total: int, then: Message) -> None:
        self.state = GroupState(whole("group", total, 1, GROUP_MAX), [], json.dumps(_packed(then)))

    def __call__(self, states: Sequence[GroupState | None], now_us: int, /) -> Step[GroupState, None]:
        """A group that is known already stays as it is."""
        [state] = states
        return unchanged(None) if state is not None else ((self.state,), None, (_KEEP_S,), ())


class MemberDone:
    """Note that a member has returned. Answers what follows, where it was the last one."""

    __slots__ = ("member_id",)
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, member_id: str) -> None:
        self.member_id = member_id

    def __call__(self, states: Sequence[GroupState | None], now_us: int, /) -> Step[GroupState, Message | None]:
        """A member that returns twice counts once."""
        [state] = states
        if state is None:
            return unchanged(None)
        done = state.done if self.member_id in state.done else [*state.done, self.member_id]
        then = _unpacked(json.loads(state.then)) if len(done) >= state.total else None
        return (state._replace(done=done),), then, (_KEEP_S,), ()
