"""Finished spans as plain facts, which travel between processes as JSON.

```
store of one process --as_json--> HTTP --from_json--> waterfall of all of them
```
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

__all__ = ["Attributes", "SpanEvent", "SpanLink", "SpanRecord", "TraceSummary", "merged", "summary_of"]

Attributes: TypeAlias = Mapping[str, Any]
"""The value of an attribute of a span: strings, numbers, booleans and lists of these."""

_NOT_ONE = (ArithmeticError, AttributeError, KeyError, TypeError, ValueError)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SpanEvent:
    """Something that happened at one moment of a span, such as an exception or a notice."""

    name: str
    at_us: int
    attributes: Attributes = dataclasses.field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SpanEvent:
        """The event that `dataclasses.asdict` gave."""
        return cls(name=str(value["name"]), at_us=int(value["at_us"]), attributes=dict(value.get("attributes", {})))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SpanLink:
    """Another span that has to do with this one without being its parent: the attempt before."""

    trace_id: str
    span_id: str
    attributes: Attributes = dataclasses.field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SpanLink:
        """The link that `dataclasses.asdict` gave."""
        attributes = dict(value.get("attributes", {}))
        return cls(trace_id=str(value["trace_id"]), span_id=str(value["span_id"]), attributes=attributes)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SpanRecord:
    """One finished span. `parent_id` is empty for the first of a trace, `instance` names the replica.

    `kind` is `internal`, `server`, `client`, `producer` or `consumer`; instants are microseconds
    since 1970 by the clock of the process it ran in.
    """

    trace_id: str
    span_id: str
    parent_id: str = ""
    name: str
    service: str = ""
    instance: str = ""
    kind: str = "internal"
    started_us: int
    ended_us: int
    failed: bool = False
    error: str = ""
    attributes: Attributes = dataclasses.field(default_factory=dict)
    events: tuple[SpanEvent, ...] = ()
    links: tuple[SpanLink, ...] = ()

    @property
    def duration_us(self) -> int:
        """Never below 0, also if the clock was set back."""
        return max(0, self.ended_us - self.started_us)

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SpanRecord:
        """The record that `as_json` gave. Raises `ValueError` for anything else."""
        try:
            return cls(
                trace_id=str(value["trace_id"]),
                span_id=str(value["span_id"]),
                parent_id=str(value.get("parent_id", "")),
                name=str(value["name"]),
                service=str(value.get("service", "")),
                instance=str(value.get("instance", "")),
                kind=str(value.get("kind", "internal")),
                started_us=int(value["started_us"]),
                ended_us=int(value["ended_us"]),
                failed=bool(value.get("failed", False)),
                error=str(value.get("error", "")),
                attributes=dict(value.get("attributes", {})),
                events=tuple(map(SpanEvent.from_json, value.get("events", ()))),
                links=tuple(map(SpanLink.from_json, value.get("links", ()))),
            )
        except _NOT_ONE as error:
            raise ValueError(f"not a span: {error!r}") from None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TraceSummary:
    """A trace in one line. `name` and `service` are those of its outermost span that is known.

    `dropped` counts spans that a store had no room for.
    """

    trace_id: str
    name: str
    service: str
    services: tuple[str, ...]
    started_us: int
    ended_us: int
    spans: int
    failed: bool
    has_root: bool
    dropped: int = 0

    @property
    def duration_ms(self) -> float:
        """From the first span's begin to the last one's end."""
        return max(0, self.ended_us - self.started_us) / 1000

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads, and the duration."""
        return {**dataclasses.asdict(self), "duration_ms": self.duration_ms}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TraceSummary:
        """The summary that `as_json` gave. Raises `ValueError` for anything else."""
        try:
            return cls(
                trace_id=str(value["trace_id"]),
                name=str(value["name"]),
                service=str(value["service"]),
                services=tuple(map(str, value["services"])),
                started_us=int(value["started_us"]),
                ended_us=int(value["ended_us"]),
                spans=int(value["spans"]),
                failed=bool(value["failed"]),
                has_root=bool(value["has_root"]),
                dropped=int(value["dropped"]),
            )
        except _NOT_ONE as error:
            raise ValueError(f"not a summary of a trace: {error!r}") from None


def summary_of(spans: Iterable[SpanRecord], *, dropped: int = 0) -> TraceSummary:
    """One trace's spans in one line. Raises `ValueError` for none."""
    known = list(spans)
    if not known:
        raise ValueError("a trace has at least one span")
    first = min(known, key=lambda span: (bool(span.parent_id), span.started_us, -span.ended_us))
    return TraceSummary(
        trace_id=first.trace_id,
        name=first.name,
        service=first.service,
        services=tuple(sorted({span.service for span in known if span.service})),
        started_us=min(span.started_us for span in known),
        ended_us=max(span.ended_us for span in known),
        spans=len(known),
        failed=any(span.failed for span in known),
        has_root=not first.parent_id,
        dropped=dropped,
    )


def merged(summaries: Iterable[TraceSummary]) -> list[TraceSummary]:
    """What several processes know of their traces as one list, the newest first."""
    found: dict[str, TraceSummary] = {}
    for one in summaries:
        other = found.get(one.trace_id)
        found[one.trace_id] = one if other is None else _both(other, one)
    return sorted(found.values(), key=lambda summary: summary.started_us, reverse=True)


def _both(one: TraceSummary, other: TraceSummary) -> TraceSummary:
    outer = min(one, other, key=lambda summary: (not summary.has_root, summary.started_us))
    return dataclasses.replace(
        outer,
        services=tuple(sorted({*one.services, *other.services})),
        started_us=min(one.started_us, other.started_us),
        ended_us=max(one.ended_us, other.ended_us),
        spans=one.spans + other.spans,
        failed=one.failed or other.failed,
        has_root=one.has_root or other.has_root,
        dropped=one.dropped + other.dropped,
    )
