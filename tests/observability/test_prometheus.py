"""Notices as Prometheus metrics, read back through the exposition format."""

from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sdpatterns.core.notices import Notice, listen, tell
from sdpatterns.observability.prometheus import PrometheusListener


@dataclass(frozen=True, kw_only=True, slots=True)
class CallEnded(Notice):
    """A notice of this test."""

    outcome: str
    duration_s: float

    def labels(self):
        return {"name": self.name, "outcome": self.outcome}

    def measures(self):
        return {"duration_s": self.duration_s}


def samples(registry):
    text = generate_latest(registry).decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_notice_is_counted_and_measured():
    registry = CollectorRegistry()
    with listen(PrometheusListener(registry)):
        for _ in range(3):
            tell(CallEnded(name="psp", outcome="success", duration_s=0.02))
    tell(CallEnded(name="psp", outcome="success", duration_s=0.02))

    labels = (("name", "psp"), ("outcome", "success"))
    found = samples(registry)
    assert found["sdpatterns_call_ended_total", *labels] == 3
    assert found["sdpatterns_call_ended_duration_seconds_count", *labels] == 3
    assert found["sdpatterns_call_ended_duration_seconds_sum", *labels] == pytest.approx(0.06)
    assert found["sdpatterns_call_ended_duration_seconds_bucket", ("le", "0.01"), *labels] == 0
    assert found["sdpatterns_call_ended_duration_seconds_bucket", ("le", "0.025"), *labels] == 3


def test_a_declared_series_begins_at_zero():
    registry = CollectorRegistry()
    listener = PrometheusListener(registry)
    notice = CallEnded(name="psp", outcome="failure", duration_s=0.02)
    listener.declare(notice)
    labels = (("name", "psp"), ("outcome", "failure"))
    assert samples(registry)["sdpatterns_call_ended_total", *labels] == 0
    assert samples(registry)["sdpatterns_call_ended_duration_seconds_count", *labels] == 0
    with listen(listener):
        tell(notice)
    assert samples(registry)["sdpatterns_call_ended_total", *labels] == 1


def test_a_label_with_too_many_values_cannot_fill_the_memory():
    registry = CollectorRegistry()
    with listen(PrometheusListener(registry, series_max=2)):
        for number in range(10):
            tell(CallEnded(name=f"n{number}", outcome="success", duration_s=0.1))

    counted = {k: v for k, v in samples(registry).items() if k[0] == "sdpatterns_call_ended_total"}
    assert len(counted) == 3
    assert sum(counted.values()) == 10
    others = ("sdpatterns_call_ended_total", ("name", "other"), ("outcome", "other"))
    assert counted[others] == 8


def test_a_bound_below_one_is_refused():
    with pytest.raises(ValueError, match="series_max must be at least 1, got 0"):
        PrometheusListener(CollectorRegistry(), series_max=0)


def test_half_a_character_in_a_label_spoils_no_scrape():
    registry = CollectorRegistry()
    with listen(PrometheusListener(registry)):
        tell(CallEnded(name="half \ud83d", outcome="success", duration_s=0.1))
    assert samples(registry)["sdpatterns_call_ended_total", ("name", "half ?"), ("outcome", "success")] == 1
