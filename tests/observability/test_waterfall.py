"""Traces in the order in which they are drawn, and what they waited for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.observability.spans import SpanRecord, TraceSummary, merged, summary_of
from sdpatterns.observability.waterfall import waterfall

TRACE = "ab" * 16


def span(span_id, parent_id="", start_ms=0, end_ms=10, **more):
    more.setdefault("trace_id", TRACE)
    more.setdefault("name", span_id)
    return SpanRecord(span_id=span_id, parent_id=parent_id, started_us=1000 * start_ms, ended_us=1000 * end_ms, **more)


def shape(found):
    return [(row.depth, row.name) for row in found.rows]


def critical(found):
    return {row.name: row.critical_ms for row in found.rows if row.critical}


def test_parents_come_before_children_and_siblings_by_their_begin():
    spans = [span("c", "a", 5, 6), span("d", "b", 2, 3), span("b", "a", 1, 4), span("a", "", 0, 10)]
    found = waterfall(spans)
    assert shape(found) == [(0, "a"), (1, "b"), (2, "d"), (1, "c")]
    assert [(row.offset_ms, row.duration_ms) for row in found.rows] == [(0, 10), (1, 3), (2, 1), (5, 1)]
    assert found.duration_ms == 10
    assert found.trace_id == TRACE


def test_the_critical_path_is_what_the_whole_waited_for():
    # b and c run beside each other, c ends last; d is sent off and outlives its parent.
    found = waterfall(
        [span("a", "", 0, 10), span("b", "a", 1, 5), span("c", "a", 2, 8), span("cc", "c", 2, 3), span("d", "a", 4, 20)]
    )
    assert critical(found) == {"a": 4.0, "c": 5.0, "cc": 1.0}
    assert found.duration_ms == 20


def test_spans_one_after_the_other_are_all_critical():
    found = waterfall([span("a", "", 0, 10), span("b", "a", 0, 4), span("c", "a", 4, 10)])
    assert critical(found) == {"a": 0.0, "b": 4.0, "c": 6.0}


def test_an_orphan_begins_a_tree_of_its_own():
    found = waterfall([span("b", "gone", 1, 4), span("bb", "b", 2, 3), span("a", "", 5, 9)])
    assert shape(found) == [(0, "a"), (0, "b"), (1, "bb")]
    assert [row.orphan for row in found.rows] == [False, True, False]
    assert found.rows[0].offset_ms == 4


def test_spans_that_are_each_others_parents_are_opened_at_the_earliest():
    found = waterfall([span("a", "c", 1, 9), span("b", "a", 2, 8), span("c", "b", 3, 7), span("me", "me", 0, 1)])
    assert shape(found) == [(0, "me"), (0, "a"), (1, "b"), (2, "c")]
    assert [row.orphan for row in found.rows] == [True, True, False, False]


def test_a_ring_keeps_what_hangs_on_it_though_that_began_before():
    found = waterfall(
        [span("early", "b", 0, 9), span("a", "b", 1, 9), span("b", "a", 2, 8), span("child", "early", 3, 4)]
    )
    assert shape(found) == [(0, "a"), (1, "b"), (2, "early"), (3, "child")]
    assert [row.orphan for row in found.rows] == [True, False, False, False]


def test_of_two_records_of_a_span_the_later_counts():
    found = waterfall([span("a", "", 0, 4), span("a", "", 0, 10), span("a", "", 0, 2)])
    assert [row.duration_ms for row in found.rows] == [10]


@pytest.mark.parametrize("ahead_ms", [-5_000, -7, 7, 5_000])
def test_a_process_whose_clock_is_off_is_moved_as_one(ahead_ms):
    shop = {"service": "shop", "kind": "client"}
    psp = {"service": "psp", "kind": "server"}
    found = waterfall(
        [
            span("call", "", 0, 10, **shop),
            span("serve", "call", 2 + ahead_ms, 8 + ahead_ms, **psp),
            span("work", "serve", 3 + ahead_ms, 5 + ahead_ms, service="psp"),
            span("back", "work", 4, 5, service="shop", kind="server"),
        ]
    )
    assert [(row.name, row.offset_ms, row.duration_ms) for row in found.rows] == [
        ("call", 0, 10),
        ("serve", 2, 6),
        ("work", 3, 2),
        ("back", 4, 1),
    ]


def test_what_outlives_its_caller_for_a_reason_stays_where_it_is():
    given_up = waterfall(
        [
            span("call", "", 0, 10, service="shop", kind="client", failed=True),
            span("serve", "call", 2, 18, service="psp", kind="server"),
        ]
    )
    sent = waterfall(
        [
            span("send", "", 0, 1, service="shop", kind="producer"),
            span("work", "send", 5, 9, service="worker", kind="consumer"),
        ]
    )
    assert given_up.rows[1].offset_ms == 2
    assert sent.rows[1].offset_ms == 5


def test_spans_of_two_traces_or_none_make_no_waterfall():
    with pytest.raises(ValueError, match="got 2"):
        waterfall([span("a"), span("b", trace_id="cd" * 16)])
    with pytest.raises(ValueError, match="got 0"):
        waterfall([])


def test_any_depth_will_do():
    found = waterfall([span(f"{n}", f"{n - 1}" if n else "", 0, 10) for n in range(20_000)])
    assert found.rows[-1].depth == 19_999


IDS = st.integers(0, 12).map(str)
SPANS = st.builds(
    lambda span_id, parent_id, start, length, service, kind, failed: span(
        span_id, parent_id, start, start + length, service=service, kind=kind, failed=failed
    ),
    IDS,
    IDS | st.just(""),
    st.integers(0, 40),
    st.integers(-3, 30),
    st.sampled_from(["shop", "psp"]),
    st.sampled_from(["server", "client", "internal"]),
    st.booleans(),
)


def test_of_two_records_of_a_span_that_ended_together_the_same_one_is_drawn_in_any_order():
    told = [span("1", "", 0, 5, failed=failed) for failed in (False, True, False)]
    assert waterfall(told).failed == waterfall(reversed(told)).failed
    assert waterfall(told).failed


@given(st.lists(SPANS, min_size=1, max_size=20))
def test_whatever_comes_each_span_is_drawn_once_and_the_critical_path_adds_up(spans):
    found = waterfall(spans)
    drawn = [row.span_id for row in found.rows]
    assert sorted(drawn) == sorted({span.span_id for span in spans})
    places = {row.span_id: place for place, row in enumerate(found.rows)}
    for row in found.rows:
        assert row.offset_ms >= 0
        assert row.duration_ms >= 0
        assert row.offset_ms + row.duration_ms <= found.duration_ms + 1e-6
        if row.depth:
            assert places[row.parent_id] < places[row.span_id]
            assert found.rows[places[row.parent_id]].depth == row.depth - 1
    assert sum(row.critical_ms for row in found.rows) == pytest.approx(found.rows[0].duration_ms)
    assert waterfall(reversed(spans)).duration_ms == found.duration_ms
    json.dumps(found.as_json())


def ring_of(span_id, parents):
    """The spans that are this one's parents and children at once, by walking up for as long as there are spans."""
    seen = [span_id]
    for _ in parents:
        seen.append(parents.get(seen[-1], ""))
    return set(seen[1:]) if span_id in seen[1:] else set()


@given(st.lists(SPANS, min_size=1, max_size=30, unique_by=lambda one: one.span_id))
def test_of_any_graph_of_parents_only_one_span_of_each_ring_leaves_its_parent(spans):
    parents = {one.span_id: one.parent_id for one in spans}
    begun = {one.span_id: (one.started_us, -one.ended_us, one.span_id) for one in spans}
    found = waterfall(spans)
    drawn = [row.span_id for row in found.rows]
    assert sorted(drawn) == sorted(parents)
    for row in found.rows:
        ring = ring_of(row.span_id, parents)
        is_opened = bool(ring) and row.span_id == min(ring, key=begun.__getitem__)
        assert row.orphan is (is_opened or (row.parent_id != "" and row.parent_id not in parents))
        assert (row.depth == 0) is (row.orphan or row.parent_id == "")
        before = found.rows[: drawn.index(row.span_id)]
        above = next((other.span_id for other in reversed(before) if other.depth < row.depth), None)
        assert above == (row.parent_id if row.depth else None)


@given(st.lists(SPANS, min_size=1, max_size=8))
def test_records_and_summaries_travel_as_json(spans):
    assert [SpanRecord.from_json(json.loads(json.dumps(one.as_json()))) for one in spans] == spans
    summary = summary_of(spans)
    assert TraceSummary.from_json(json.loads(json.dumps(summary.as_json()))) == summary


@pytest.mark.parametrize("bad", [{}, [], "x", {"span_id": 1}, {**span("a").as_json(), "started_us": float("inf")}])
def test_what_is_no_span_is_refused(bad):
    with pytest.raises(ValueError, match="not a span"):
        SpanRecord.from_json(bad)
    with pytest.raises(ValueError, match="not a summary"):
        TraceSummary.from_json(bad)


def test_summaries_of_several_processes_are_merged_newest_first():
    edge = summary_of([span("a", "", 5, 30, service="edge")])
    shop = summary_of([span("b", "a", 6, 20, service="shop", failed=True)], dropped=2)
    other = replace(summary_of([span("z", "", 40, 41, trace_id="cd" * 16)]))
    found = merged([shop, edge, other])
    assert [one.trace_id for one in found] == ["cd" * 16, TRACE]
    both = found[1]
    assert (both.name, both.service, both.services) == ("a", "edge", ("edge", "shop"))
    assert (both.spans, both.failed, both.has_root, both.dropped) == (2, True, True, 2)
    assert both.duration_ms == 25
