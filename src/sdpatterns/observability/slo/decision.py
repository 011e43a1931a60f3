"""From objectives to rules: the ratio of errors over each window, what is left of the budget, and three alerts.

```
slo:sli_events:rate5m   slo:sli_errors:rate5m          all and failed events, also while there are none
slo:sli_error:ratio_rate5m ... 6h                      failed / all, from the queries
slo:sli_error:ratio_rate1d  3d  30d                    the same from sums of the recorded events
slo:period_error_budget_remaining:ratio                1 = untouched, 0 = used up, below 0 = missed
alerts: NAME{severity=page}  NAME{severity=ticket}  NAMENoData
```

Names are those of Sloth where it has one, so that its dashboards work with these rules.
"""

from __future__ import annotations

from collections.abc import Iterator

from sdpatterns.observability.rules import AlertRule, RecordingRule, RuleGroup, duration, kebab, selector
from sdpatterns.observability.slo.config import SLO, SLOFile
from sdpatterns.observability.slo.windows import BurnWindow, BurnWindows

__all__ = ["slo_rules"]

SEVERITIES = ("page", "ticket")
_QUERIED_MAX_S = 6 * 3_600.0
"""Up to here a window is queried. Longer ones would read days of raw series at each evaluation."""
_NO_DATA_WINDOWS = 2


def slo_rules(
    file: SLOFile, windows: BurnWindows | None = None, *, runbooks: str | None = None
) -> tuple[RuleGroup, ...]:
    """Two groups of rules for each objective: what to record, and when to alert.

    `runbooks` is a URL below which each alert has a page, named by its name in kebab case; it becomes the annotation
    `runbook_url` where the file has none.

    **Keeps**: a window without events has no ratio, so nothing divides by zero and nothing alerts for it; an objective
    without any series alerts as `NoData`. **May fail** with `ValueError` where an alert could never fire, because its
    objective is so low that more than all events would have to fail. **Costs** nothing but the rules.
    """
    windows = windows or BurnWindows()
    each = [_Rules(file, slo, windows, runbooks) for slo in file.slos]
    return tuple(group for rules in each for group in (rules.recorded(), rules.alerts()))


class _Rules:
    def __init__(self, file: SLOFile, slo: SLO, windows: BurnWindows, runbooks: str | None) -> None:
        self._slo = slo
        self._windows = windows
        self._runbooks = runbooks
        self._own = {"service": file.service, "slo": slo.name}
        self._labels = {**file.labels, **slo.labels, **self._own}
        self._base = windows.lengths_s()[0]
        self._group = f"{file.service}-{slo.name}"

    def recorded(self) -> RuleGroup:
        ratios = (self._ratio(length_s) for length_s in self._windows.lengths_s())
        return RuleGroup(f"slo-record-{self._group}", (*self._events(), *ratios, *self._budget()))

    def alerts(self) -> RuleGroup:
        return RuleGroup(f"slo-alert-{self._group}", (*self._burning(), self._no_data()))

    def _events(self) -> Iterator[RecordingRule]:
        errors, total = self._counted(self._base)
        yield self._record(f"slo:sli_events:rate{duration(self._base)}", total)
        yield self._record(f"slo:sli_errors:rate{duration(self._base)}", errors)

    def _counted(self, length_s: float) -> tuple[str, str]:
        """Failed and all events. Where no series of errors exists yet, none has failed."""
        errors, total = self._slo.sli.within(duration(self._windows.real_s(length_s)))
        return f"({errors})\nor\n0 * ({total})", total

    def _ratio(self, length_s: float) -> RecordingRule:
        if length_s <= _QUERIED_MAX_S:
            errors, total = self._counted(length_s)
            return self._record(f"slo:sli_error:ratio_rate{duration(length_s)}", f"({errors})\n/\n(({total}) > 0)")
        window = duration(self._windows.real_s(length_s))
        errors, total = (
            f"sum_over_time({self._series(f'slo:sli_{what}:rate{duration(self._base)}')}[{window}])"
            for what in ("errors", "events")
        )
        return self._record(f"slo:sli_error:ratio_rate{duration(length_s)}", f"{errors}\n/\n({total} > 0)")

    def _budget(self) -> Iterator[RecordingRule]:
        budget, period_s = self._slo.budget, self._windows.period_s
        now, all_along = (self._series(_ratio_name(length_s)) for length_s in (self._base, period_s))
        yield self._record("slo:objective:ratio", f"vector({_number(1 - budget)})")
        yield self._record("slo:error_budget:ratio", f"vector({_number(budget)})")
        yield self._record("slo:time_period:days", f"vector({_number(period_s / 86_400)})")
        yield self._record("slo:current_burn_rate:ratio", f"{now} / {_number(budget)}")
        yield self._record("slo:period_burn_rate:ratio", f"{all_along} / {_number(budget)}")
        yield self._record("slo:period_error_budget_remaining:ratio", f"1 - {all_along} / {_number(budget)}")

    def _burning(self) -> Iterator[AlertRule]:
        for severity in SEVERITIES:
            labels = self._slo.alerting.labels_of(severity)
            if labels is None:
                continue
            pairs = list(self._windows.thresholds(self._slo.budget, severity))
            if not pairs:
                raise ValueError(
                    f"{self._slo.name}: an objective of {self._slo.objective:g} is too low for a {severity}, because "
                    "more than all events would have to fail; disable it or choose other windows"
                )
            summary = "{{ $labels.slo }} of {{ $labels.service }}: {{ $value | humanizePercentage }} of events fail"
            yield AlertRule(
                alert=self._slo.alerting.name,
                expr="\nor\n".join(f"({self._pair(pair, threshold)})" for pair, threshold in pairs),
                labels={**self._labels, **labels},
                annotations=self._annotations(self._slo.alerting.name, severity, summary),
            )

    def _pair(self, pair: BurnWindow, threshold: float) -> str:
        short, long = (self._series(_ratio_name(length_s)) for length_s in (pair.short_s, pair.long_s))
        return f"{short} > {_number(threshold)}\n  and\n  {long} > {_number(threshold)}"

    def _no_data(self) -> AlertRule:
        name = f"{self._slo.alerting.name}NoData"
        events = self._series(f"slo:sli_events:rate{duration(self._base)}")
        labels = self._slo.alerting.labels_of("ticket") or {**self._slo.alerting.labels, "severity": "ticket"}
        return AlertRule(
            alert=name,
            expr=f"absent({events})",
            for_s=_NO_DATA_WINDOWS * self._windows.real_s(self._base),
            labels={**self._labels, **labels},
            annotations=self._annotations(
                name, "ticket", "{{ $labels.slo }} of {{ $labels.service }}: there is no series to judge it by"
            ),
        )

    def _annotations(self, alert: str, severity: str, summary: str) -> dict[str, str]:
        said = self._slo.alerting.annotations_of(severity)
        page = {} if self._runbooks is None else {"runbook_url": f"{self._runbooks.rstrip('/')}/{kebab(alert)}/"}
        told = {"description": self._slo.description} if self._slo.description else {}
        return {"summary": summary, **told, **page, **said}

    def _record(self, name: str, expr: str) -> RecordingRule:
        return RecordingRule(record=name, expr=expr, labels=self._labels)

    def _series(self, name: str) -> str:
        return selector(name, self._own)


def _ratio_name(length_s: float) -> str:
    return f"slo:sli_error:ratio_rate{duration(length_s)}"


def _number(value: float) -> str:
    return f"{round(value, 12):.12g}"
