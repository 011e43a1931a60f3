"""The map of a choreography: events that nothing handles, cycles, and how it is drawn."""

from __future__ import annotations

import itertools

from sdpatterns.messaging.choreography.decision import HandlerLink, drawn, faults

ORDER = [
    HandlerLink("placed", "stock", "reserve", ("reserved", "missing")),
    HandlerLink("reserved", "payments", "charge", ("paid",)),
    HandlerLink("missing", "orders", "cancel", ()),
]


def test_what_nothing_handles_is_told_unless_it_is_an_end() -> None:
    assert faults(ORDER, ["paid"], []) == []
    assert faults(ORDER, [], []) == [
        "payments: charge publishes 'paid', and nothing handles it: declare it in ends if that is meant"
    ]
    assert faults([], [], []) == []


def test_a_cycle_is_told_unless_one_of_its_events_may_come_again() -> None:
    again = [*ORDER, HandlerLink("paid", "orders", "order_more", ("placed",))]
    assert faults(again, [], []) == [
        "paid -> placed -> reserved -> paid goes round: declare one of them in cycles if that is meant to end"
    ]
    for event in ("placed", "reserved", "paid"):
        assert faults(again, [], [event]) == []
    assert faults(again, [], ["missing"]) != []
    assert faults([HandlerLink("a", "s", "h", ("a",))], [], []) != []


def _goes_round(edges: set[tuple[str, str]]) -> bool:
    """By brute force: whether a walk of as many steps as there are events exists."""
    walks = set(edges)
    for _ in range(4):
        walks = {(a, d) for a, b in walks for c, d in edges if b == c}
    return bool(walks)


def test_it_finds_a_cycle_exactly_where_there_is_one() -> None:
    names = "abc"
    edges = [(a, b) for a in names for b in names]
    for count in range(len(edges) + 1):
        for chosen in itertools.combinations(edges, count):
            links = [HandlerLink(a, "s", f"{a}{b}", (b,)) for a, b in chosen]
            found = [told for told in faults(links, names, []) if "goes round" in told]
            assert bool(found) == _goes_round(set(chosen)), chosen


def test_events_and_handlers_are_drawn_once() -> None:
    assert drawn(ORDER[:2]) == [
        "flowchart LR", '  e0(["placed"])', '  e1(["reserved"])', '  e2(["missing"])', '  e3(["paid"])',
        '  h0["stock: reserve"]', "  e0 --> h0", "  h0 --> e1", "  h0 --> e2",
        '  h1["payments: charge"]', "  e1 --> h1", "  h1 --> e3",
    ]  # fmt: skip
