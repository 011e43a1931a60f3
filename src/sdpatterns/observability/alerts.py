"""Alerts for what patterns tell: an open breaker, dead letters, parked sagas, lost leases, refused clients, late views.

```
observe(PrometheusListener(), ...)  -->  sdpatterns_circuit_opened_total, ...  -->  pattern_alerts()  -->  rules.yml
```

These are causes, so they are tickets. A page belongs to what users notice: see `sdpatterns.observability.slo`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from sdpatterns.observability.rules import AlertRule, RuleGroup, duration, kebab

__all__ = ["AlertThresholds", "pattern_alerts"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AlertThresholds:
    """When an alert for a pattern fires. `shrink` makes each time that much shorter, for tests and demonstrations."""

    recent_s: float = 600.0
    """For how long something that happened once keeps its alert firing."""
    lasting_s: float = 300.0
    """How long a condition must last before its alert fires."""
    refusals_per_s: float = 1.0
    """How many refusals a second of one limiter or bulkhead are too many."""
    lag_positions: float = 1_000.0
    """How many positions of the log a projection may be behind."""
    lag_s: float = 0.5
    """How late the event loop may be."""
    shrink: float = 1.0

    def __post_init__(self) -> None:
        for field in ("recent_s", "lasting_s", "refusals_per_s", "lag_positions", "lag_s"):
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} must be above 0, got {getattr(self, field)!r}")
        if not self.shrink >= 1:
            raise ValueError(f"shrink must be at least 1, got {self.shrink!r}")


_PARKED = "cannot go on by itself and waits for a person"
_HAPPENED = (
    ("CircuitOpened", "circuit_opened", "the breaker {{ $labels.name }} opened: calls are refused"),
    ("JobAbandoned", "job_abandoned", f"a job of {{{{ $labels.name }}}} {_PARKED}"),
    ("EventParked", "event_parked", f"an event of {{{{ $labels.name }}}} {_PARKED}"),
    ("SagaParked", "saga_parked", f"a run of {{{{ $labels.name }}}} {_PARKED}"),
    ("StreamParked", "stream_parked", f"a stream of the projection {{{{ $labels.name }}}} {_PARKED}"),
    ("LeaseLost", "lease_left", "work outlived its lease {{ $labels.name }}, or could not release it"),
    ("JobLost", "job_lost", "a job of {{ $labels.name }} outlived its lease: two workers may have done it"),
)
_REFUSED = (
    ("LimiterRefusing", "limit_reached", "the limiter {{ $labels.name }} refuses clients all the time"),
    ("BulkheadFull", "slot_refused", "the bulkhead {{ $labels.name }} has no slot for some calls all the time"),
)


def pattern_alerts(
    thresholds: AlertThresholds | None = None, *, runbooks: str | None = None, target: str = "up"
) -> RuleGroup:
    """A group of alerts for the metrics of `PrometheusListener` and `ResourceCollector`.

    `target` selects what `TargetDown` watches, such as `up{job="shop"}`. `runbooks` is a URL below which each alert has
    a page, named by its name in kebab case.

    **Keeps**: a counter that begins at 1, because its client exports it only after the first event, alerts for that
    event; a scrape that fails does not end an alert for something that happened within `recent_s`. **May fail** with
    nothing of its own. **Costs** one query for each alert and evaluation.
    """
    alerts = _Alerts(thresholds or AlertThresholds(), runbooks)
    return RuleGroup("sdpatterns", (*alerts.happened(), *alerts.refused(), *alerts.late(), *alerts.down(target)))


class _Alerts:
    def __init__(self, thresholds: AlertThresholds, runbooks: str | None) -> None:
        self._is = thresholds
        self._runbooks = runbooks
        self._recent = duration(thresholds.recent_s / thresholds.shrink)
        self._lasting_s = thresholds.lasting_s / thresholds.shrink

    def happened(self) -> Iterator[AlertRule]:
        for alert, event, summary in _HAPPENED:
            yield self._rule(alert, self._grew(f"sdpatterns_{event}_total"), summary)

    def refused(self) -> Iterator[AlertRule]:
        for alert, event, summary in _REFUSED:
            rate = f"sum by (name) (rate(sdpatterns_{event}_total[{duration(self._lasting_s)}]))"
            yield self._rule(alert, f"{rate} > {self._is.refusals_per_s:g}", summary, for_s=self._lasting_s)

    def late(self) -> Iterator[AlertRule]:
        for alert, kind, most, summary in (
            (
                "ProjectionLag",
                "projection",
                self._is.lag_positions,
                "{{ $labels.name }} is {{ $value }} events late",
            ),
            ("EventLoopLag", "event_loop", self._is.lag_s, "the event loop {{ $labels.name }} is {{ $value }} s late"),
        ):
            expr = f'max by (name) (sdpatterns_resource_waiting{{kind="{kind}"}}) > {most:g}'
            yield self._rule(alert, expr, summary, for_s=self._lasting_s)

    def down(self, target: str) -> Iterator[AlertRule]:
        summary = "{{ $labels.instance }} does not answer scrapes"
        yield self._rule("TargetDown", f"{target} == 0", summary, for_s=self._lasting_s)
        yield self._rule("NoTargets", f"absent({target})", "Prometheus knows no target", for_s=self._lasting_s)

    def _grew(self, counter: str) -> str:
        """Whether it counted something recently. `increase` does not see the first event of a series."""
        grown = f"sum by (name) (increase({counter}[{self._recent}]))"
        born = f"sum by (name) (max_over_time({counter}[{self._recent}]))"
        return f"{grown} > 0\nor\n({born} unless sum by (name) ({counter} offset {self._recent})) > 0"

    def _rule(self, alert: str, expr: str, summary: str, *, for_s: float = 0.0) -> AlertRule:
        page = {} if self._runbooks is None else {"runbook_url": f"{self._runbooks.rstrip('/')}/{kebab(alert)}/"}
        return AlertRule(
            alert=alert,
            expr=expr,
            for_s=for_s,
            labels={"severity": "ticket"},
            annotations={"summary": summary, **page},
        )
