"""The judges of harm on small ledgers: they see it where it is, and never where a defence keeps its promise."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.stage.control.domain import Agreement
from shop.stage.control.harm import (
    KNOWN_DOWN_AFTER,
    Logged,
    Served,
    Share,
    Visit,
    behind_the_log,
    charged_twice,
    kept_waiting,
    known_down_after,
    misread,
)

SECOND_US = 1_000_000


def order(
    number: int, *, key: str = "", placed_s: float = 0, decided_s: float | None = 1, reason: str = ""
) -> dict[str, Any]:
    return {
        "order_id": f"o{number}",
        "client_key": key or f"k{number}",
        "placed_at_us": int(placed_s * SECOND_US),
        "decided_at_us": None if decided_s is None else int(decided_s * SECOND_US),
        "reason": reason,
    }


def test_two_charged_orders_under_one_key_are_one_customer_charged_twice() -> None:
    orders = [order(1, key="a"), order(2, key="a"), order(3, key="a"), order(4, key="b")]
    assert charged_twice(orders, {"o1": 5, "o2": 5, "o3": 5, "o4": 5}) == 2


def test_refunded_and_uncharged_orders_count_as_no_harm() -> None:
    orders = [order(1, key="a"), order(2, key="a"), order(3, key="a")]
    assert charged_twice(orders, {"o1": 5, "o2": 0}) == 0


def test_an_order_is_misread_where_it_was_charged_another_sum() -> None:
    totals = {"o1": 500, "o2": 0, "o3": 700, "o4": 0}
    orders = [{**order(number), "status": "paid", "total_minor": totals[f"o{number}"]} for number in (1, 2, 3)]
    orders.append({**order(4), "status": "undoing", "total_minor": 0})
    # The third is refunded already, and its row is not new enough to say so.
    assert misread(orders, {"o1": 500, "o2": 1290, "o3": 0, "o4": 900}) == 1


@pytest.mark.parametrize(
    ("event", "status", "harmed"),
    [
        ("order.placed", None, 1),
        ("order.placed", "pending", 0),
        ("order.placed", "paid", 0),
        ("order.paid", "pending", 1),
        ("order.paid", "cancelled", 0),
        ("order.given-up", "paid", 1),
        ("order.taken-back", "undoing", 0),
        ("order.failed", "undoing", 1),
        ("order.failed", "failed", 0),
    ],
)
def test_tables_are_behind_the_log_where_an_order_has_not_come_as_far(
    event: str, status: str | None, harmed: int
) -> None:
    logged = {"o1": Logged(10, 2, event)}
    tables = {} if status is None else {"o1": {**order(1), "status": status}}
    assert behind_the_log(logged, tables, since_us=10) == harmed
    assert behind_the_log(logged, tables, since_us=11) == 0, "it was placed before"


def outage(failed: int = KNOWN_DOWN_AFTER) -> tuple[list[dict[str, Any]], list[Visit]]:
    """So many orders that failed for payment, each after one attempt, a second apart."""
    orders = [
        order(number, placed_s=number, decided_s=number + 0.5, reason="payment-uncertain") for number in range(failed)
    ]
    return orders, [Visit(each["order_id"], "charge", False, each["placed_at_us"] + 1) for each in orders]


def attempts(order_id: str, times: int, at_s: float) -> list[Visit]:
    return [Visit(order_id, "charge", False, int((at_s + number) * SECOND_US)) for number in range(times)]


@pytest.mark.parametrize(("times", "harmed"), [(0, 0), (1, 0), (2, 1), (5, 1)])
def test_two_attempts_after_five_failures_count_as_kept_waiting(times: int, harmed: int) -> None:
    orders, visits = outage()
    orders.append(order(9, placed_s=10, decided_s=12, reason="payment-uncertain"))
    assert kept_waiting(orders, visits + attempts("o9", times, 10.1)) == harmed


def test_the_provider_is_not_known_to_be_down_after_four_failures() -> None:
    orders, visits = outage(KNOWN_DOWN_AFTER - 1)
    orders.append(order(9, placed_s=10, decided_s=12, reason="payment-uncertain"))
    assert kept_waiting(orders, visits + attempts("o9", 2, 10.1)) == 0


def test_the_provider_is_not_known_to_be_down_before_the_fifth_failure_is_decided() -> None:
    orders, visits = outage()
    orders.append(order(9, placed_s=4.4, decided_s=7, reason="payment-uncertain"))
    assert kept_waiting(orders, visits + attempts("o9", 2, 4.5)) == 0


@pytest.mark.parametrize("well_s", [0.1, 3.0, 10.5])
def test_one_good_answer_in_between_means_that_the_provider_is_not_known_to_be_down(well_s: float) -> None:
    orders, visits = outage()
    orders.append(order(9, placed_s=10, decided_s=12, reason="payment-uncertain"))
    good = Visit("o7", "refund", True, int(well_s * SECOND_US))
    assert kept_waiting(orders, [*visits, *attempts("o9", 2, 10.1), good]) == 0


def test_a_good_answer_before_the_outage_or_after_it_changes_nothing() -> None:
    orders, visits = outage()
    orders = [{**each, "placed_at_us": each["placed_at_us"] + SECOND_US} for each in orders]
    orders.append(order(9, placed_s=10, decided_s=12, reason="payment-uncertain"))
    good = [Visit("o7", "charge", True, 10), Visit("o8", "charge", True, 13 * SECOND_US)]
    assert kept_waiting(orders, [*visits, *attempts("o9", 2, 10.1), *good]) == 1


def test_a_sold_out_order_says_nothing_of_the_provider() -> None:
    orders, visits = outage()
    orders += [order(7, placed_s=8, decided_s=8.1, reason="sold-out"), order(9, placed_s=10, decided_s=12)]
    assert kept_waiting(orders, visits + attempts("o9", 2, 10.1)) == 1


@given(st.randoms(use_true_random=False), st.integers(1, 4), st.integers(1, 4))
def test_independent_breakers_keep_no_customer_waiting(chance: random.Random, breakers: int, callers: int) -> None:
    """Each caller goes round the breakers from where it likes; each breaker opens after five failed attempts."""
    turns = [chance.randrange(breakers) for _ in range(callers)]
    left = dict.fromkeys(range(breakers), 5)
    orders: list[dict[str, Any]] = []
    visits: list[Visit] = []
    for number in range(120):
        caller = chance.randrange(callers)
        turns[caller] = at = (turns[caller] + 1) % breakers
        orders.append(order(number, placed_s=number, decided_s=number + 0.5, reason="payment-uncertain"))
        tried = min(2, left[at])
        left[at] -= tried
        visits += attempts(f"o{number}", tried, number + 0.1)
    known_after = known_down_after(breakers, callers)
    assert kept_waiting(orders, visits, known_after) == 0
    late = order(500, placed_s=500, decided_s=501, reason="payment-uncertain")
    assert kept_waiting([*orders, late], visits + attempts("o500", 2, 500.1), known_after) == 1


@given(st.integers(0, 10_000))
def test_what_an_exact_limiter_admits_is_within_the_share_also_when_it_decides_late(seed: int) -> None:
    chance = random.Random(seed)
    full_us = 0.0
    share, served = Share(20, 40), 0
    arrivals = sorted(chance.randrange(3 * SECOND_US) for _ in range(200))
    requests = sorted((arrived + chance.randrange(50_000), arrived) for arrived in arrivals)
    for decided_us, arrived_us in requests:  # the naive bucket of the same rate, asked at the moment of decision
        if max(full_us, decided_us) + SECOND_US / 20 - 40 * SECOND_US / 20 <= decided_us:
            full_us = max(full_us, decided_us) + SECOND_US / 20
            share.add(Served(arrived_us, decided_us + chance.randrange(200_000)))
            served += 1
    assert share.beyond(10 * SECOND_US) == 0
    assert served >= 40


def test_each_request_beyond_the_share_is_counted() -> None:
    share = Share(20, 40)
    for _ in range(100):
        share.add(Served(1_000, 1_000))
    assert share.beyond(2_000) == 60
    for number in range(40):  # two seconds later the bucket is full again
        share.add(Served(2 * SECOND_US + 1_000 + number, 2 * SECOND_US + 1_000 + number))
    assert share.beyond(3 * SECOND_US) == 60


def test_looking_often_or_once_gives_the_same_count() -> None:
    chance = random.Random(5)
    often, once = Share(20, 40), Share(20, 40)
    for number in range(6_000):
        at_us = number * 20_000
        served = Served(at_us, at_us + chance.randrange(10_000))
        often.add(served)
        once.add(served)
        if number % 50 == 0:
            often.beyond(at_us)
    assert often.beyond(10**12) == once.beyond(10**12) > 3_000


def test_an_agreement_is_updated_order_by_order() -> None:
    agreement = Agreement()
    agreement.put("a", 100, 100)
    agreement.put("b", None, 50)
    assert (agreement.paid_minor, agreement.net_minor, agreement.in_flight, agreement.suspects) == (
        100,
        100,
        {"b"},
        set(),
    )
    agreement.put("b", 50, 50)
    agreement.put("a", 0, 100)
    assert (agreement.paid_minor, agreement.net_minor, agreement.in_flight, agreement.suspects) == (
        50,
        150,
        set(),
        {"a"},
    )
    agreement.put("a", 0, 0)
    assert agreement.verdict([]).holds
    assert agreement.suspects == set()
