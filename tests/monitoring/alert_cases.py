"""For each alert of the shop four situations: it fires, stays silent, resolves, and there is no data at all.

An objective is judged by events that are good or bad, so its row says what one of each adds to which series.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tests.promtool import Case, firing

SITUATIONS = ("fires", "stays silent", "resolves", "no data")


class Phase(NamedTuple):
    """So many minutes with so many good and bad events in each."""

    minutes: int
    good: int
    bad: int


def counter(metric: str, /, **labels: str) -> str:
    """A series of the library's."""
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"sdpatterns_{metric}{{{inside}}}"


def requests(route: str, status: str) -> str:
    return counter("request_finished_total", name="gateway", method="GET", route=route, status=status)


def durations(kind: str, **labels: str) -> str:
    return counter(f"request_finished_duration_seconds_{kind}", name="gateway", route="/api/v1/products", **labels)


def provider(failed: str) -> str:
    return counter("call_finished_total", name="payments", to="psp", failed=failed)


OBJECTIVES: dict[str, dict[str, tuple[int, int]]] = {
    "GatewayErrors": {requests("/api/v1/products", "200"): (1, 0), requests("/api/v1/products", "503"): (0, 1)},
    "GatewaySlow": {durations("count"): (1, 1), durations("bucket", le="0.5"): (1, 0)},
    "CheckoutFails": {requests("/api/v1/checkout", "201"): (1, 0), requests("/api/v1/checkout", "503"): (0, 1)},
    "PaymentProviderFails": {provider("false"): (1, 0), provider("true"): (0, 1)},
}
"""What a good and a bad event add to each series."""
WITHOUT_PAGE = {"PaymentProviderFails"}

HAPPENED = {
    "CircuitOpened": counter("circuit_opened_total", name="psp", reason="consecutive"),
    "JobAbandoned": counter("job_abandoned_total", name="follow-ups", job="webhook"),
    "EventParked": counter("event_parked_total", name="orders"),
    "SagaParked": counter("saga_parked_total", name="orders", saga="place_order"),
    "StreamParked": counter("stream_parked_total", name="orders", version="1"),
    "LeaseLost": counter("lease_left_total", name="payouts"),
    "JobLost": counter("job_lost_total", name="follow-ups", job="ship"),
}
REFUSED = {
    "LimiterRefusing": counter("limit_reached_total", name="api"),
    "BulkheadFull": counter("slot_refused_total", name="checkout", reason="full"),
}
LATE = {
    "ProjectionLag": (counter("resource_waiting", kind="projection", name="orders/1"), 2_000, 10),
    "EventLoopLag": (counter("resource_waiting", kind="event_loop", name="gateway"), 2, 0),
}
UP = 'up{app_kubernetes_io_part_of="shop",instance="gateway"}'


def happened(alert: str, series: str) -> dict[str, Case]:
    """An alert for something that is counted once."""
    return _named(
        alert,
        ({series: "0x5 1x30"}, (("4m", 0), ("7m", 1))),
        ({series: "0x30"}, (("5m", 0), ("25m", 0))),
        ({series: "_x5 1x30"}, (("8m", 1), ("25m", 0))),
        ({}, (("10m", 0),)),
    )


def refused(alert: str, series: str) -> dict[str, Case]:
    """An alert for two refusals a second; one in two seconds is none."""
    return _named(
        alert,
        ({series: "0+120x30"}, (("4m", 0), ("12m", 1))),
        ({series: "0+30x30"}, (("20m", 0),)),
        ({series: "0+120x20 2400x30"}, (("18m", 1), ("32m", 0))),
        ({}, (("10m", 0),)),
    )


def late(alert: str, series: str, much: int, little: int) -> dict[str, Case]:
    """An alert for a gauge that stays high."""
    return _named(
        alert,
        ({series: f"{much}x30"}, (("3m", 0), ("10m", 1))),
        ({series: f"{little}x10 {much}x2 {little}x20"}, (("12m", 0), ("25m", 0))),
        ({series: f"{much}x20 {little}x20"}, (("18m", 1), ("25m", 0))),
        ({}, (("10m", 0),)),
    )


def targets() -> dict[str, dict[str, Case]]:
    """The alerts for targets that do not answer, and for having none."""
    return {
        "TargetDown": _named(
            "TargetDown",
            ({UP: "1x5 0x20"}, (("8m", 0), ("15m", 1))),
            ({UP: "1x10 0x2 1x20"}, (("12m", 0), ("20m", 0))),
            ({UP: "0x15 1x20"}, (("10m", 1), ("20m", 0))),
            ({}, (("10m", 0),)),
        ),
        "NoTargets": _named(
            "NoTargets",
            ({"up{job='other'}": "1x20"}, (("10m", 1),)),
            ({UP: "0x30"}, (("20m", 0),)),
            ({UP: "_x10 1x20"}, (("8m", 1), ("20m", 0))),
            ({}, (("3m", 0), ("10m", 1))),
        ),
    }


def objective(alert: str) -> dict[str, Case]:
    """The situations of an objective, each of which judges its page, its ticket and its alert without data."""
    page, ticket = firing(alert, severity="page"), firing(alert, severity="ticket")
    no_data, paged = firing(f"{alert}NoData"), float(alert not in WITHOUT_PAGE)
    half_bad, good = Phase(30, 50, 50), Phase(450, 100, 0)
    silent = [(page, "120m", 0.0), (ticket, "120m", 0.0), (no_data, "120m", 0.0)]
    return {
        "fires": Case(
            f"{alert}: half of the events are bad",
            _series(alert, half_bad),
            [(page, "10m", paged), (ticket, "10m", 1.0), (no_data, "30m", 0.0)],
        ),
        "stays silent": Case(f"{alert}: one in two thousand is bad", _series(alert, Phase(120, 1999, 1)), silent),
        "resolves": Case(
            f"{alert}: it heals after half an hour",
            _series(alert, half_bad, good),
            [(page, "30m", paged), (page, "70m", 0.0), (ticket, "70m", 1.0), (ticket, "450m", 0.0)],
        ),
        "no data": Case(
            f"{alert}: no series, and later there is one",
            {name: f"_x30 {values}" for name, values in _series(alert, Phase(30, 100, 0)).items()},
            [
                (page, "25m", 0.0),
                (ticket, "25m", 0.0),
                (no_data, "5m", 0.0),
                (no_data, "25m", 1.0),
                (no_data, "45m", 0.0),
            ],
        ),
        "no traffic": Case(f"{alert}: the counters stand still", _series(alert, Phase(120, 0, 0)), silent),
    }


def _series(alert: str, *phases: Phase) -> dict[str, str]:
    return {
        name: _values([(phase.minutes, phase.good * good + phase.bad * bad) for phase in phases])
        for name, (good, bad) in OBJECTIVES[alert].items()
    }


def _values(phases: list[tuple[int, int]]) -> str:
    at, words = 0, []
    for minutes, grows in phases:
        words.append(f"{at}+{grows}x{minutes - 1}")
        at += grows * minutes
    return " ".join(words)


def _named(alert: str, *situations: tuple[Mapping[str, str], tuple[tuple[str, int], ...]]) -> dict[str, Case]:
    return {
        name: Case(f"{alert}: {name}", series, [(firing(alert), at, float(count)) for at, count in expected])
        for name, (series, expected) in zip(SITUATIONS, situations, strict=True)
    }


PATTERNS: dict[str, dict[str, Case]] = {
    **{alert: happened(alert, series) for alert, series in HAPPENED.items()},
    **{alert: refused(alert, series) for alert, series in REFUSED.items()},
    **{alert: late(alert, *facts) for alert, facts in LATE.items()},
    **targets(),
}
