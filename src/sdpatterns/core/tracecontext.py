"""W3C trace context: the headers `traceparent` and `tracestate`, read strictly and written.

```
traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
             version   trace id (32)               span id (16)   flags
```

What cannot be read starts a new trace; it is never mended and never passed on. Of the flags 01 says that the
trace is sampled, and 02 that its id is random; both are passed on as they came, all others are sent as zero.

Source: W3C "Trace Context Level 2", https://www.w3.org/TR/trace-context-2/
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from sdpatterns.core.context import Trace
from sdpatterns.core.forks import drop_in_child

__all__ = ["child_of", "new_trace", "parse_trace", "parse_tracestate", "random_id", "traceparent_of"]

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED, _RANDOM = 1, 2
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16
_KEY = r"[a-z0-9][a-z0-9_\-*/@]{0,255}"
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(rf"({_KEY})=({_VALUE})")

MEMBERS_MAX = 32
STATE_CHARS_MAX = 512
_LONG_MEMBER_CHARS = 128

Ids = Callable[[int], str]
"""Gives an id of so many bytes as lower-case hexadecimal."""


def parse_trace(traceparents: Sequence[str], tracestates: Sequence[str] = ()) -> Trace | None:
    """The position that the headers of one message name, or None where they name none.

    Give each header's values as they came. None for: no traceparent or more than one, a wrong
    length, upper case, an id of zeros, version `ff`, or version `00` with anything behind it. Of a
    version still to come the known part is read, as the recommendation asks.
    """
    if len(traceparents) != 1:
        return None
    found = _PARENT.fullmatch(traceparents[0].strip(" \t"))
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    bits = int(flags, 16)
    return Trace(trace_id, span_id, bool(bits & _SAMPLED), parse_tracestate(tracestates), bool(bits & _RANDOM))


def parse_tracestate(tracestates: Sequence[str]) -> str:
    """The combined tracestate, or the empty string where any of it is malformed.

    More than 32 members count as malformed. Of a key given twice the first member stays, because the newest
    stands first. Beyond 512 characters whole
    members are dropped: the long ones first, then from the end, where the oldest stand.
    """
    if not tracestates:
        return ""
    members = [member for value in tracestates for part in value.split(",") if (member := part.strip(" \t"))]
    found = [_MEMBER.fullmatch(member) for member in members]
    if not all(found) or len(members) > MEMBERS_MAX:
        return ""
    firsts: dict[str, str] = {}
    for match in found:
        if match is not None:
            firsts.setdefault(match.group(1), match.group())
    return ",".join(_shortened(list(firsts.values())))


def _shortened(members: list[str]) -> list[str]:
    def is_long() -> bool:
        return sum(map(len, members)) + len(members) - 1 > STATE_CHARS_MAX

    if is_long():
        for member in [member for member in reversed(members) if len(member) > _LONG_MEMBER_CHARS]:
            if is_long():
                members.remove(member)
    while is_long():
        members.pop()
    return members


def traceparent_of(trace: Trace) -> str:
    """The header that names this position, in version 00."""
    flags = _SAMPLED * trace.sampled | _RANDOM * trace.random
    return f"00-{trace.trace_id}-{trace.span_id}-{flags:02x}"


class _Chance(random.Random):
    """Seeded by the system, and again in a forked child, which would repeat its parent's numbers."""

    def after_fork_in_child(self) -> None:
        self.seed()


# Not `random`'s own, which a program may seed; and not the system's, which lets another thread run for each id.
_CHANCE = _Chance()
drop_in_child(_CHANCE)


def random_id(size_bytes: int) -> str:
    """An id drawn at random; it is no secret, because who sees a few of them can compute the next."""
    return _CHANCE.getrandbits(8 * size_bytes).to_bytes(size_bytes, "big").hex()


def new_trace(ids: Ids = random_id, *, sampled: bool = True) -> Trace:
    """The first span of a new trace. Its id counts as random where no ids were handed in."""
    return Trace(_id(ids, 16), _id(ids, 8), sampled, random=ids is random_id)


def child_of(parent: Trace, ids: Ids = random_id) -> Trace:
    """A new span in the parent's trace."""
    # In full, because `_replace` takes three times as long.
    return Trace(parent.trace_id, _id(ids, 8), parent.sampled, parent.state, parent.random)


def _id(ids: Ids, size_bytes: int) -> str:
    found = ids(size_bytes)
    return found if found.strip("0") else "0" * (2 * size_bytes - 1) + "1"
