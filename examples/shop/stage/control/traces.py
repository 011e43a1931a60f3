"""Traces put together from the spans that every process has kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sdpatterns.observability.spans import SpanRecord, TraceSummary, merged
from sdpatterns.observability.waterfall import Row, Waterfall, waterfall
from shop.problems import not_found
from shop.stage.control.replicas import Replicas
from shop.validation import is_slug


class Traces:
    """What is known of the last requests."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas

    async def recent(self, limit: int) -> list[dict[str, Any]]:
        """One line for each trace, the newest first."""
        rows = await self._replicas.rows(f"/internal/traces?limit={limit}")
        return [_line(trace) for trace in merged(map(TraceSummary.from_json, rows))[:limit]]

    async def trace(self, trace_id: str) -> dict[str, Any]:
        """The waterfall of a trace; a 404 problem for one that is not kept any more."""
        rows = await self._replicas.rows(f"/internal/traces/{trace_id}") if is_slug(trace_id) else []
        if not rows:
            raise not_found("such trace any more")
        return _drawn(waterfall(map(SpanRecord.from_json, rows)))


def _line(trace: TraceSummary) -> dict[str, Any]:
    return {
        "trace_id": trace.trace_id,
        "name": trace.name,
        "service": trace.service,
        "started_at": datetime.fromtimestamp(trace.started_us / 1e6, UTC).isoformat(timespec="milliseconds"),
        "duration_ms": trace.duration_ms,
        "spans": trace.spans,
        "failed": trace.failed,
    }


def _drawn(drawn: Waterfall) -> dict[str, Any]:
    rows = [_row(row, drawn.started_us) for row in drawn.rows]
    return {"trace_id": drawn.trace_id, "duration_ms": drawn.duration_ms, "failed": drawn.failed, "rows": rows}


def _row(row: Row, started_us: int) -> dict[str, Any]:
    plain = ("span_id", "parent_id", "name", "service", "depth", "offset_ms", "duration_ms", "failed", "critical")
    events = [
        {"name": event.name, "offset_ms": (event.at_us - started_us) / 1000, "attributes": dict(event.attributes)}
        for event in row.events
    ]
    return {
        **{name: getattr(row, name) for name in plain},
        "attributes": dict(row.attributes),
        "events": events,
        "links": [f"{link.trace_id}/{link.span_id}" for link in row.links],
    }
