"""What is decided about an order, without a shop: an order has one end, whatever comes in which order."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shop.ordering.domain import (
    BY_CUSTOMER,
    BY_RETURN,
    CANCELLED,
    FAILED,
    INTERRUPTED,
    PAID,
    Close,
    Command,
    GiveUp,
    Line,
    Order,
    OrderPlaced,
    Pay,
    TakeBack,
    decide,
    evolve,
)

PLACED = OrderPlaced("o-1", "key", "cart", (Line("sku", "A lamp", "Ada", 2, 50),), 100, "EUR", 1)
COMMANDS: list[Command] = [
    PLACED,
    Pay(2),
    GiveUp("too-slow", 3),
    TakeBack(BY_CUSTOMER, 4),
    TakeBack(BY_RETURN, 5),
    Close(6),
]
NEXT = {"": {"pending"}, "pending": {"paid", "undoing"}, "paid": {"undoing"}, "undoing": {"failed", "cancelled"}}


def after(*commands: Command) -> Order:
    return reduce(lambda order, command: reduce(evolve, decide(order, command), order), commands, Order())


@given(st.lists(st.sampled_from(COMMANDS), max_size=12))
def test_an_order_takes_no_way_that_it_may_not_take(commands: list[Command]) -> None:
    order, seen = Order(), [""]
    for command in commands:
        for event in decide(order, command):
            order = evolve(order, event)
            seen.append(order.status)
    assert all(later in NEXT.get(before, set()) for before, later in pairwise(seen))
    assert (order.status == CANCELLED) <= order.is_cancelled
    assert (order.status == FAILED) <= (not order.is_cancelled and PAID not in seen)


def test_who_decides_later_changes_nothing() -> None:
    paid = after(PLACED, Pay(2))
    assert (paid.status, paid.decided_at_us, paid.since_us) == (PAID, 2, 2)
    assert decide(paid, GiveUp("too-slow", 3)) == decide(paid, Pay(3)) == decide(paid, PLACED) == []
    given_up = after(PLACED, GiveUp("too-slow", 3))
    assert (given_up.status, given_up.reason) == ("undoing", "too-slow")
    assert decide(given_up, Pay(4)) == decide(given_up, TakeBack(BY_CUSTOMER, 4)) == []


def test_a_cancellation_does_not_change_when_an_order_was_decided() -> None:
    back = after(PLACED, Pay(2), TakeBack(BY_RETURN, 5), Close(6))
    assert (back.status, back.reason, back.decided_at_us, back.since_us) == (CANCELLED, BY_RETURN, 2, 6)


def test_an_order_whose_saga_was_stopped_by_hand_ends_too() -> None:
    stopped = after(PLACED, Close(6))
    assert (stopped.status, stopped.reason) == (FAILED, INTERRUPTED)
