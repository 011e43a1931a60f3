"""No card number and no secret leaves in a span, from any library."""

from __future__ import annotations

import json
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sdpatterns.core.notices import listen, tell
from sdpatterns.core.tracing import Opened, trace_with
from sdpatterns.observability.opentelemetry import OpenTelemetryListener, OpenTelemetryTracer
from sdpatterns.observability.traces import TraceStore
from sdpatterns.resilience.retry.notices import RetryScheduled

LENGTHS = {"4": 16, "51": 16, "2221": 16, "34": 15, "36": 14, "6011": 16, "62": 19}


def luhn_digit(stem: str) -> str:
    doubled = sum(int(digit) * 2 - (9 if digit > "4" else 0) for digit in stem[::-2])
    return str(-(doubled + sum(map(int, stem[-2::-2]))) % 10)


@st.composite
def card_numbers(draw: st.DrawFn) -> str:
    first = draw(st.sampled_from(sorted(LENGTHS)))
    size = LENGTHS[first] - len(first) - 1
    stem = first + draw(st.text("0123456789", min_size=size, max_size=size))
    separator = draw(st.sampled_from(["", " ", "-"]))
    number = stem + luhn_digit(stem)
    return separator.join(number[at : at + 4] for at in range(0, len(number), 4))


def written_by_ours(card: str, before: str) -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with trace_with(OpenTelemetryTracer(provider)), listen(OpenTelemetryListener()):
        with (
            suppress(ValueError),
            Opened(f"pay {card}", facts={"url.path": f"/pay/{card}", "n": 1}) as span,
        ):
            span.note("said", f"{before} {card}")
            span.rename(f"pay with {card}")
            tell(RetryScheduled(name=f"psp {card}", attempt=1, delay_s=0.1, error=f"Odd{card}"))
            raise ValueError(f"{before} {card}, declined")
        with Opened("said so") as span:
            span.fail(f"{before} {card}")
    return exporter


@given(card_numbers(), st.text("abc :=,", max_size=8))
def test_our_spans_leave_the_process_without_card_numbers(card: str, before: str) -> None:
    spans = written_by_ours(card, before).get_finished_spans()
    assert len(spans) == 2
    told = "".join(span.to_json() for span in spans)
    assert card not in told
    assert card[-4:] in told


def test_a_failed_span_still_says_what_went_wrong() -> None:
    span = written_by_ours("4000 0000 0000 0002", "the bank said no to")
    failed, _ = span.get_finished_spans()
    assert failed.status.description == "ValueError: the bank said no to **** **** **** 0002, declined"
    (_, event) = failed.events
    assert dict(event.attributes) == {
        "exception.type": "ValueError",
        "exception.message": "the bank said no to **** **** **** 0002, declined",
    }


@given(card_numbers(), st.integers(980, 1_000))
def test_the_store_tells_no_card_number_of_anybodys_spans(card: str, filled: int) -> None:
    store, provider = TraceStore(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(store)
    tracer = provider.get_tracer("somebody else")
    with (
        suppress(RuntimeError),
        tracer.start_as_current_span(f"pay {card}", attributes={"q": [card], "password": "hunter2"}) as span,
    ):
        # The store cuts texts at 1,000 characters; half a number must not be left over either.
        span.add_event(card, {"text": f"{'x' * filled} {card}"})
        raise RuntimeError(f"no {card}")
    (summary,) = store.recent()
    told = json.dumps([span.as_json() for span in store.spans(summary.trace_id)] + [summary.as_json()])
    assert card not in told
    assert card[:10] not in told
    assert "hunter2" not in told
