"""What an SLO file says: classes that check themselves. `SLOFile.parsed` reads the shape of Sloth's `prometheus/v1`.

```yaml
version: prometheus/v1
service: shop
labels: {owner: shop}
slos:
  - name: checkout-success
    objective: 99.5
    sli:
      events:
        error_query: sum(rate(requests_total{status=~"5.."}[{{.window}}]))
        total_query: sum(rate(requests_total[{{.window}}]))
    alerting:
      name: CheckoutBudgetBurn
      page_alert: {labels: {severity: page}}
      ticket_alert: {disable: true}
```
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from sdpatterns.observability.slo.reading import Section

__all__ = ["SLO", "Alerting", "EventsSLI", "SLOFile"]

VERSION = "prometheus/v1"
OWN_LABELS = frozenset({"service", "slo"})
"""The labels that every series of an SLO has; a file cannot set them."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9])?")
_ALERT = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_WINDOW = re.compile(r"\{\{\s*\.window\s*\}\}")

_Labels = Mapping[str, str]


def _none() -> dict[str, str]:
    return {}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EventsSLI:
    """Two queries, of failed and of all events, each with `{{.window}}` where the window goes.

    Each gives one number, such as `sum(rate(...))`. A query of errors that finds no series means no errors.
    """

    error_query: str
    total_query: str

    def __post_init__(self) -> None:
        for field in ("error_query", "total_query"):
            if not _WINDOW.search(getattr(self, field)):
                raise ValueError(f"{field} must contain {{{{.window}}}}, got {getattr(self, field)!r}")

    def within(self, window: str) -> tuple[str, str]:
        """Both queries for one window."""
        return _WINDOW.sub(window, self.error_query.strip()), _WINDOW.sub(window, self.total_query.strip())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Alerting:
    """The alerts of an SLO: their name, and labels and annotations for both, for the page or for the ticket alone.

    A severity whose labels are None is disabled.
    """

    name: str
    labels: _Labels = dataclasses.field(default_factory=_none)
    annotations: _Labels = dataclasses.field(default_factory=_none)
    page_labels: _Labels | None = dataclasses.field(default_factory=_none)
    ticket_labels: _Labels | None = dataclasses.field(default_factory=_none)
    page_annotations: _Labels = dataclasses.field(default_factory=_none)
    ticket_annotations: _Labels = dataclasses.field(default_factory=_none)

    def __post_init__(self) -> None:
        if not _ALERT.fullmatch(self.name):
            raise ValueError(f"name must be letters, digits and underscores, such as CheckoutBurn, got {self.name!r}")
        for labels in (self.labels, self.page_labels, self.ticket_labels):
            _check_labels(labels or {})

    def labels_of(self, severity: str) -> dict[str, str] | None:
        """The labels of one severity's alert; None where it is disabled."""
        own = self.page_labels if severity == "page" else self.ticket_labels
        return None if own is None else {"severity": severity, **self.labels, **own}

    def annotations_of(self, severity: str) -> dict[str, str]:
        """The annotations of one severity's alert."""
        return {**self.annotations, **(self.page_annotations if severity == "page" else self.ticket_annotations)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SLO:
    """One objective: which percentage of the events has to be good over the period."""

    name: str
    objective: float
    sli: EventsSLI
    alerting: Alerting
    description: str = ""
    labels: _Labels = dataclasses.field(default_factory=_none)

    def __post_init__(self) -> None:
        _check_name("name", self.name)
        if not 0 < self.objective < 100:
            raise ValueError(f"objective must be a percentage above 0 and below 100, got {self.objective!r}")
        _check_labels(self.labels)

    @property
    def budget(self) -> float:
        """The part of the events that may fail: 0.001 for an objective of 99.9."""
        return round((100 - self.objective) / 100, 12)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SLOFile:
    """The objectives of one service."""

    service: str
    slos: tuple[SLO, ...]
    labels: _Labels = dataclasses.field(default_factory=_none)

    def __post_init__(self) -> None:
        _check_name("service", self.service)
        _check_labels(self.labels)
        if not self.slos:
            raise ValueError("slos must have at least one SLO")
        for field, named in (("name", [slo.name for slo in self.slos]), ("alert", _alerts(self.slos))):
            twice = sorted({name for name in named if named.count(name) > 1})
            if twice:
                raise ValueError(f"slos must not share a {field}: {', '.join(twice)}")

    @classmethod
    def parsed(cls, document: object) -> SLOFile:
        """The file that a YAML or JSON document holds. `ValueError` says where it is wrong, and how."""
        section = Section(document, "")
        if section.text("version") != VERSION:
            raise ValueError(f"version must be {VERSION}, got {section.text('version')!r}")
        slos = tuple(_slo(each) for each in section.sections("slos"))
        return section.made(cls, service=section.text("service"), labels=section.texts("labels"), slos=slos)


def _slo(section: Section) -> SLO:
    sli = section.section("sli")
    for kind in ("raw", "plugin"):
        if sli.has(kind):
            raise ValueError(f"{sli.path}.{kind} is not supported: give events, with error_query and total_query")
    events = sli.section("events")
    sli.done()
    return section.made(
        SLO,
        name=section.text("name"),
        objective=section.number("objective"),
        description=section.text("description", ""),
        labels=section.texts("labels"),
        sli=events.made(EventsSLI, error_query=events.text("error_query"), total_query=events.text("total_query")),
        alerting=_alerting(section.section("alerting")),
    )


def _alerting(section: Section) -> Alerting:
    found: dict[str, Any] = {}
    for severity in ("page", "ticket"):
        alert = section.section(f"{severity}_alert", optional=True)
        labels, annotations = alert.texts("labels"), alert.texts("annotations")
        found[f"{severity}_labels"] = None if alert.flag("disable") else labels
        found[f"{severity}_annotations"] = annotations
        alert.done()
    return section.made(
        Alerting,
        name=section.text("name"),
        labels=section.texts("labels"),
        annotations=section.texts("annotations"),
        **found,
    )


def _alerts(slos: tuple[SLO, ...]) -> list[str]:
    return [slo.alerting.name for slo in slos]


def _check_name(field: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{field} must be lower case letters, digits, dots, dashes and underscores, got {name!r}")


def _check_labels(labels: _Labels) -> None:
    taken = sorted(OWN_LABELS & labels.keys())
    if taken:
        raise ValueError(f"labels must not contain {', '.join(taken)}, which every series of an SLO has of its own")
