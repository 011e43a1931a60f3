"""Spans in the order in which one draws them, with what the whole had to wait for.

```
GET /cart            ████████████████████████   critical
  limiter            █                          critical
  GET catalog          ███████                             (ran beside the next, and ended first)
  POST psp             ███████████████████      critical: make this faster and the request is
```
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from sdpatterns.observability.spans import Attributes, SpanEvent, SpanLink, SpanRecord

__all__ = ["Row", "Waterfall", "waterfall"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One bar. `offset_ms` counts from the left edge, on a clock that all processes share.

    `critical` says that the trace would have been done earlier had this span been faster, and
    `critical_ms` for how long the whole waited for this span itself, not for one inside it.
    `orphan` is a span without its parent, which may still come.
    """

    span_id: str
    parent_id: str
    name: str
    service: str
    kind: str
    depth: int
    offset_ms: float
    duration_ms: float
    failed: bool
    error: str
    critical: bool
    critical_ms: float
    orphan: bool
    attributes: Attributes
    events: tuple[SpanEvent, ...]
    links: tuple[SpanLink, ...]

    def as_json(self) -> dict[str, Any]:
        """All fields, by name."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Waterfall:
    """A trace, ready to be drawn. `started_us` is the left edge, `duration_ms` the width."""

    trace_id: str
    started_us: int
    duration_ms: float
    failed: bool
    services: tuple[str, ...]
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """All fields, by name."""
        return dataclasses.asdict(self)


class _Bar:
    """A span on its way into a row: where it stands, on the shared clock."""

    __slots__ = ("alone_us", "critical", "depth", "end", "inside", "orphan", "span", "start")

    def __init__(self, span: SpanRecord) -> None:
        self.span = span
        self.inside: list[_Bar] = []
        self.depth = 0
        self.orphan = False
        self.critical = False
        self.alone_us = 0
        self.start = span.started_us
        self.end = span.started_us + span.duration_us

    def shift(self, shift_us: int) -> None:
        self.start = self.span.started_us + shift_us
        self.end = self.start + self.span.duration_us

    @property
    def clock(self) -> tuple[str, str]:
        return self.span.service, self.span.instance


def waterfall(spans: Iterable[SpanRecord]) -> Waterfall:
    """One trace's spans, parents before children, siblings by when they began.

    **Keeps**: each span id appears once (of two records the one that ended later); a span whose
    parent is not here begins a tree of its own, and so does the earliest of spans that are each
    other's parents. A server's span that by its clock began before its caller, or ended after a
    caller that got an answer, is centred within the caller, and all of that process with it: one
    clock, one shift. Along the critical path `critical_ms` adds up to the duration of the first row.
    **May fail** with `ValueError` for no spans, or for spans of two traces.
    **Costs** time in proportion to n log n, and no recursion: any depth will do.
    """
    bars = _distinct(spans)
    roots = _trees(bars)
    rows = _in_order(roots)
    _one_clock(rows)
    _mark_critical(rows[0])
    edge = min(bar.start for bar in rows)
    return Waterfall(
        trace_id=rows[0].span.trace_id,
        started_us=edge,
        duration_ms=(max(bar.end for bar in rows) - edge) / 1000,
        failed=any(bar.span.failed for bar in rows),
        services=tuple(sorted({bar.span.service for bar in rows if bar.span.service})),
        rows=tuple(_row(bar, edge) for bar in rows),
    )


def _distinct(spans: Iterable[SpanRecord]) -> dict[str, _Bar]:
    found: dict[str, SpanRecord] = {}
    for span in spans:
        twin = found.get(span.span_id)
        # Of two that ended together the choice must not depend on the order in which they came.
        if twin is None or (span.ended_us, repr(span)) > (twin.ended_us, repr(twin)):
            found[span.span_id] = span
    traces = {span.trace_id for span in found.values()}
    if len(traces) != 1:
        raise ValueError(f"spans of exactly one trace make a waterfall, got {len(traces)}")
    return {span.span_id: _Bar(span) for span in sorted(found.values(), key=_when)}


def _when(span: SpanRecord) -> tuple[int, int, str]:
    return span.started_us, -span.ended_us, span.span_id


def _trees(bars: dict[str, _Bar]) -> list[_Bar]:
    roots, orphans = [], []
    for bar in bars.values():
        parent = bars.get(bar.span.parent_id)
        if parent is not None:
            parent.inside.append(bar)
        elif bar.span.parent_id:
            bar.orphan = True
            orphans.append(bar)
        else:
            roots.append(bar)
    return roots + orphans + _opened_rings(bars, roots + orphans)


def _opened_rings(bars: dict[str, _Bar], roots: Sequence[_Bar]) -> list[_Bar]:
    """The earliest span of each ring of spans that no root leads to, taken out of its parent."""
    reached: set[str] = set()
    _reach(roots, reached)
    opened = []
    for bar in bars.values():
        if bar.span.span_id not in reached:
            first = _earliest_in_ring(bar, bars)
            bars[first.span.parent_id].inside.remove(first)
            first.orphan = True
            opened.append(first)
            _reach([first], reached)
    return opened


def _earliest_in_ring(bar: _Bar, bars: dict[str, _Bar]) -> _Bar:
    """Of the ring that the parents of this one end in; it may itself only hang on it."""
    passed: dict[str, _Bar] = {}
    while bar.span.span_id not in passed:
        passed[bar.span.span_id] = bar
        bar = bars[bar.span.parent_id]
    ring = list(passed.values())
    return min(ring[ring.index(bar) :], key=lambda bar: _when(bar.span))


def _reach(roots: Sequence[_Bar], reached: set[str]) -> None:
    left = list(roots)
    while left:
        bar = left.pop()
        reached.add(bar.span.span_id)
        left += bar.inside


def _in_order(roots: Sequence[_Bar]) -> list[_Bar]:
    left, found = list(reversed(roots)), []
    while left:
        bar = left.pop()
        found.append(bar)
        for child in reversed(bar.inside):
            child.depth = bar.depth + 1
            left.append(child)
    return found


def _one_clock(rows: Sequence[_Bar]) -> None:
    """Shift each process by as much as its first span in a foreign caller is off."""
    shifts: dict[tuple[str, str], int] = {}
    parents = {child.span.span_id: bar for bar in rows for child in bar.inside}
    for bar in rows:
        parent = parents.get(bar.span.span_id)
        if bar.clock not in shifts:
            shifts[bar.clock] = 0 if parent is None else _off_by_us(bar, parent)
        bar.shift(shifts[bar.clock])


def _off_by_us(bar: _Bar, caller: _Bar) -> int:
    is_late = bar.end > caller.end and not caller.span.failed and bar.span.kind == "server"
    if bar.start >= caller.start and not is_late:
        return 0
    spare = (caller.end - caller.start) - (bar.end - bar.start)
    return caller.start + max(0, spare) // 2 - bar.start


def _mark_critical(root: _Bar) -> None:
    """Walk back from the end: what ended last before the moment is what was waited for."""
    left = [(root, root.start, root.end)]
    while left:
        bar, since, moment = left.pop()
        bar.critical = True
        for child in sorted(bar.inside, key=lambda child: (child.end, child.start), reverse=True):
            # One that ends after its parent was not waited for; one that began before it is cut.
            if since < child.end <= moment:
                bar.alone_us += moment - child.end
                moment, ended = max(child.start, since), child.end
                left.append((child, moment, ended))
        bar.alone_us += moment - since


def _row(bar: _Bar, edge: int) -> Row:
    span = bar.span
    return Row(
        span_id=span.span_id,
        parent_id=span.parent_id,
        name=span.name,
        service=span.service,
        kind=span.kind,
        depth=bar.depth,
        offset_ms=(bar.start - edge) / 1000,
        duration_ms=(bar.end - bar.start) / 1000,
        failed=span.failed,
        error=span.error,
        critical=bar.critical,
        critical_ms=bar.alone_us / 1000,
        orphan=bar.orphan,
        attributes=span.attributes,
        events=span.events,
        links=span.links,
    )
