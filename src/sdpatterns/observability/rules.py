"""Prometheus rules as values: a recording rule, an alert, a group of them, and the mapping that a rule file holds.

```
RuleGroup("checkout", [RecordingRule(...), AlertRule(...)])  -->  rule_file([group])  -->  YAML
```
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

__all__ = ["AlertRule", "RecordingRule", "Rule", "RuleGroup", "duration", "kebab", "rule_file", "selector"]

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


def duration(length_s: float) -> str:
    """A length of time as PromQL writes it: `300` is `5m`, `0.5` is `500ms`. `ValueError` below a millisecond."""
    left = round(length_s * 1_000)
    if left < 1:
        raise ValueError(f"a duration must be at least a millisecond, got {length_s!r} s")
    for unit, size in _UNITS:
        if left % size == 0:
            return f"{left // size}{unit}"
    raise AssertionError("a millisecond divides them all")


def selector(metric: str, labels: Mapping[str, str]) -> str:
    """A metric with these labels, as PromQL writes it."""
    inside = ", ".join(f"{name}={_quoted(value)}" for name, value in labels.items())
    return f"{metric}{{{inside}}}" if inside else metric


def kebab(name: str) -> str:
    """The name of an alert as its runbook's page has it: `CheckoutBudgetBurn` is `checkout-budget-burn`."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1-\2", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1-\2", name))
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RecordingRule:
    """A query that Prometheus evaluates at each interval and keeps under a name."""

    record: str
    expr: str
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _METRIC.fullmatch(self.record):
            raise ValueError(f"record must be the name of a metric, got {self.record!r}")
        _check(self.expr, self.labels)

    def mapping(self) -> dict[str, Any]:
        """The rule as a rule file holds it."""
        return {"record": self.record, "expr": self.expr, **_some(labels=self.labels)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AlertRule:
    """A query with an answer only while something is wrong. `for_s` is how long it must have one before it fires."""

    alert: str
    expr: str
    for_s: float = 0.0
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _LABEL.fullmatch(self.alert):
            raise ValueError(f"alert must be letters, digits and underscores, got {self.alert!r}")
        if self.for_s < 0:
            raise ValueError(f"for_s must be at least 0, got {self.for_s!r}")
        _check(self.expr, self.labels)
        _check_names("annotations", self.annotations)

    def mapping(self) -> dict[str, Any]:
        """The rule as a rule file holds it."""
        held = {"for": duration(self.for_s)} if self.for_s else {}
        return {
            "alert": self.alert,
            "expr": self.expr,
            **held,
            **_some(labels=self.labels, annotations=self.annotations),
        }


Rule: TypeAlias = RecordingRule | AlertRule


@dataclasses.dataclass(frozen=True, slots=True)
class RuleGroup:
    """Rules that Prometheus evaluates one after the other, so that a later one may read what an earlier one records."""

    name: str
    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        if not self.name or not self.rules:
            raise ValueError(f"a group needs a name and at least one rule, got {self.name!r} with {len(self.rules)}")

    def mapping(self) -> dict[str, Any]:
        """The group as a rule file holds it."""
        return {"name": self.name, "rules": [rule.mapping() for rule in self.rules]}


def rule_file(groups: Iterable[RuleGroup]) -> dict[str, Any]:
    """What a rule file of Prometheus, or the `spec` of a `PrometheusRule`, holds. Two groups may not share a name."""
    listed = list(groups)
    names = [group.name for group in listed]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"groups must have names of their own, but these occur twice: {', '.join(twice)}")
    return {"groups": [group.mapping() for group in listed]}


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _check(expr: str, labels: Mapping[str, str]) -> None:
    if not expr.strip():
        raise ValueError("expr must be a query, got an empty one")
    _check_names("labels", labels)


def _check_names(field: str, named: Mapping[str, str]) -> None:
    for name in named:
        if not _LABEL.fullmatch(name):
            raise ValueError(f"{field} must be named by letters, digits and underscores, got {name!r}")


def _some(**named: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {field: dict(values) for field, values in named.items() if values}
