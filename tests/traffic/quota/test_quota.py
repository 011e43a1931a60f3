"""A quota as its users meet it: plans, notices, refusals, outages, settings."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from sdpatterns import Quota, daily, listen, monthly, weekly, yearly
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.blocking import blocking
from sdpatterns.core.notices import Notice
from sdpatterns.errors import BackendUnavailable, OutcomeUnknown, RateLimited
from sdpatterns.testing.clock import VirtualClock
from sdpatterns.traffic.quota import Allowance, QuotaBypassed, QuotaReached, QuotaRefused
from tests.traffic.quota.oracle import Ledger
from tests.traffic.ratelimit.stores import Between

pytestmark = pytest.mark.anyio

# The virtual clock starts on Tuesday, 14 November 2023, at 22:13:20 UTC.
TO_MIDNIGHT_S = 6_400.0
TO_MONTHS_END_S = 16 * 86_400.0 + TO_MIDNIGHT_S


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as found:
        yield found


async def test_a_refusal_lasts_until_the_period_ends_and_not_a_microsecond_longer(clock: VirtualClock) -> None:
    quota = Quota("api", [daily(2), monthly(3)])
    assert [(await quota.acquire("x")).remaining for _ in range(2)] == [1, 0]
    refused = await quota.acquire("x")
    assert (refused.allowed, refused.limit, refused.binding.period) == (False, 2, "day")
    assert refused.retry_after_s == refused.reset_after_s == TO_MIDNIGHT_S
    clock.advance(TO_MIDNIGHT_S - 0.000_001)
    assert not (await quota.acquire("x")).allowed
    clock.advance(0.000_001)
    assert (await quota.acquire("x")).allowed
    refused = await quota.acquire("x")
    assert (refused.binding.period, refused.retry_after_s) == ("month", TO_MONTHS_END_S - TO_MIDNIGHT_S)
    assert refused.remaining == 0
    clock.advance(refused.retry_after_s)
    assert (await quota.acquire("x")).remaining == 1


async def test_midnight_is_that_of_the_zone(clock: VirtualClock) -> None:
    berlin, utc = Quota("b", daily(1), zone="Europe/Berlin"), Quota("u", daily(1))
    assert (await berlin.acquire("x")).reset_after_s == TO_MIDNIGHT_S - 3600.0
    assert (await utc.acquire("x")).reset_after_s == TO_MIDNIGHT_S


async def test_the_standings_say_how_long_each_period_is(clock: VirtualClock) -> None:
    quota = Quota("api", [yearly(9), daily(2), monthly(5), weekly(4)])
    decision = await quota.acquire("x", cost=2)
    shown = [(each.period, each.limit, each.used, each.remaining, each.period_s) for each in decision.standings]
    assert shown == [
        ("day", 2, 2, 0, 86_400.0), ("week", 4, 2, 2, 7 * 86_400.0),
        ("month", 5, 2, 3, 30 * 86_400.0), ("year", 9, 2, 7, 365 * 86_400.0),
    ]  # fmt: skip
    assert decision.rate is decision.binding is decision.standings[0]
    assert "period='day'" in repr(decision)
    assert repr(decision.rate) == "Standing(2 of 2 this day, ends in 6400 s)"


async def test_what_was_used_stays_used_when_a_key_changes_its_plan(clock: VirtualClock) -> None:
    table = {"x": "basic"}
    quota = Quota("api", {"basic": [daily(3), monthly(5)], "pro": [monthly(50)]}, plan=table)
    for _ in range(3):
        assert (await quota.acquire("x")).plan == "basic"
    assert not (await quota.acquire("x")).allowed
    table["x"] = "pro"
    assert (await quota.acquire("x", cost=10)).remaining == 37
    table["x"] = "basic"
    refused = await quota.acquire("x")
    assert (refused.allowed, refused.binding.period, refused.remaining) == (False, "month", 0)


async def test_a_function_may_name_the_plan_and_an_unknown_one_is_refused() -> None:
    quota = Quota("api", {"free": daily(1), "paid": daily(9)}, plan=lambda key: key.partition(":")[0])
    assert (await quota.acquire("free:1")).limit == 1
    assert (await quota.acquire("paid:1")).limit == 9
    with pytest.raises(ValueError, match="plan must give one of 'free', 'paid', got 'gold' for key 'gold:1'"):
        await quota.acquire("gold:1")
    with pytest.raises(ValueError, match="plan must give one of 'free', got ''"):
        await Quota("api", {"free": daily(1)}, plan={}).acquire("stranger")


async def test_a_request_is_settled_at_what_it_did_cost(clock: VirtualClock) -> None:
    quota = Quota("tokens", [daily(100), monthly(150)])
    decision = await quota.acquire("x", cost=60)
    await quota.settle(decision, 25)
    assert (await quota.peek("x")).remaining == 75
    await quota.settle(decision, 25)
    assert (await quota.peek("x")).remaining == 75
    await quota.settle(decision, 130)
    peeked = await quota.peek("x")
    assert (peeked.allowed, peeked.remaining, [each.used for each in peeked.standings]) == (False, 0, [130, 130])
    await quota.refund(decision)
    assert (await quota.peek("x")).remaining == 100


async def test_a_period_that_is_over_is_not_amended(clock: VirtualClock) -> None:
    quota = Quota("tokens", [daily(100), monthly(150)])
    decision = await quota.acquire("x", cost=60)
    clock.advance(TO_MIDNIGHT_S)
    assert (await quota.acquire("x", cost=7)).allowed
    await quota.settle(decision, 20)
    assert [each.used for each in (await quota.peek("x")).standings] == [7, 27]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_request_that_two_settle_at_once_is_given_back_once(clock: VirtualClock) -> None:
    store = Between(MemoryBackend().states)
    quota = Quota("tokens", daily(100), store=store)
    await quota.acquire("x", cost=50)
    decision = await quota.acquire("x", cost=40)
    await asyncio.gather(quota.refund(decision), quota.refund(decision), quota.settle(decision, 10))
    assert (decision.cost, (await quota.peek("x")).remaining) == (10, 40)
    store.fail = BackendUnavailable
    with pytest.raises(BackendUnavailable):
        await quota.refund(decision)
    store.fail = None
    await quota.refund(decision)
    assert (decision.cost, (await quota.peek("x")).remaining) == (0, 50)


async def test_a_refused_request_is_settled_for_nothing(clock: VirtualClock) -> None:
    quota = Quota("tokens", daily(10))
    await quota.acquire("x", cost=8)
    refused = await quota.acquire("x", cost=8)
    await quota.refund(refused)
    await quota.refund(await quota.peek("x"))
    assert (await quota.peek("x")).remaining == 2
    with pytest.raises(ValueError, match="cost must be a whole number from 0"):
        await quota.settle(refused, -1)


async def test_peek_uses_nothing_and_reset_forgets() -> None:
    quota = Quota("api", daily(3))
    assert [(await quota.peek("x", cost=3)).remaining for _ in range(3)] == [3, 3, 3]
    await quota.acquire("x", cost=2)
    assert not (await quota.peek("x", cost=2)).allowed
    await quota.reset("x")
    assert (await quota.acquire("x", cost=3)).remaining == 0


async def test_listeners_hear_each_share_once_and_every_refusal(clock: VirtualClock) -> None:
    quota = Quota("api", {"basic": [daily(10), monthly(100)]}, plan={"x": "basic"})
    heard: list[Notice] = []
    with listen(heard.append):
        for _ in range(12):
            await quota.acquire("x")
    reached = [notice for notice in heard if isinstance(notice, QuotaReached)]
    assert [(notice.share, notice.used, notice.period) for notice in reached] == [(0.8, 8, "day"), (1.0, 10, "day")]
    assert reached[0].labels() == {"name": "api", "plan": "basic", "period": "day", "share": "0.8"}
    refused = [notice for notice in heard if isinstance(notice, QuotaRefused)]
    assert [notice.retry_after_s for notice in refused] == [TO_MIDNIGHT_S] * 2
    assert refused[0].labels() == {"name": "api", "plan": "basic", "period": "day"}
    assert len(heard) == 4


@pytest.mark.parametrize("count", [1, 3, 7, 100, 1_000])
async def test_a_share_is_reached_by_the_request_that_reaches_it_and_not_by_the_next(count: int) -> None:
    shares = [Decimal(percent) / 100 for percent in range(1, 101)]
    quota = Quota("api", daily(count), notify_at=[float(share) for share in shares])
    heard: list[Any] = []
    with VirtualClock(), listen(heard.append):
        for _ in range(count):
            await quota.acquire("x")
    assert [(notice.share, notice.used) for notice in heard] == [
        (float(share), math.ceil(share * count)) for share in shares
    ]


def test_shares_that_differ_little_have_labels_of_their_own() -> None:
    shares = (0.9, 0.999_999_9, 1.0)
    told = [
        QuotaReached(name="api", key="x", plan="", period="day", share=share, used=1, limit=1).labels()["share"]
        for share in shares
    ]
    assert told == ["0.9", "0.9999999", "1"]


async def test_a_settlement_may_reach_a_share_and_a_refund_reaches_none(clock: VirtualClock) -> None:
    quota = Quota("api", daily(10), notify_at=(0.5,))
    heard: list[Any] = []
    with listen(heard.append):
        decision = await quota.acquire("x", cost=4)
        await quota.settle(decision, 12)
        await quota.refund(decision)
    assert [(notice.share, notice.used) for notice in heard] == [(0.5, 12)]


async def test_a_guard_raises_what_a_limiter_raises(clock: VirtualClock) -> None:
    quota = Quota("api", daily(1))
    async with quota.guard("x") as decision:
        assert decision.allowed
    with pytest.raises(RateLimited) as refused:
        async with quota.guard("x"):
            pytest.fail("not reached")
    assert (refused.value.key, refused.value.retry_after_s) == ("x", TO_MIDNIGHT_S)

    @quota.by(lambda who: who).protect
    def plain(who: str) -> str:
        return who

    assert plain("y") == "y"
    with pytest.raises(RateLimited):
        plain("y")


def test_the_blocking_door_and_acquire_now() -> None:
    quota = Quota("api", daily(2))
    assert blocking(quota).acquire("x").remaining == 1
    assert quota.acquire_now("x").remaining == 0
    away = Quota("api", daily(2), store=Between(MemoryBackend().states))
    with pytest.raises(TypeError, match="is not in this process"):
        away.acquire_now("x")


@pytest.mark.parametrize("kind", [BackendUnavailable, OutcomeUnknown])
async def test_an_outage_is_answered_as_configured(kind: type[Exception]) -> None:
    store = Between(MemoryBackend().states)
    store.fail = kind
    heard: list[Any] = []
    with listen(heard.append):
        allowed = await Quota("api", daily(2), store=store).acquire("x")
        refused = await Quota("api", daily(2), store=store, on_outage="refuse").acquire("x")
    assert (allowed.allowed, allowed.remaining, allowed.taken) == (True, 2, ())
    assert (refused.allowed, refused.remaining, refused.retry_after_s) == (False, 0, 1.0)
    assert [type(notice) for notice in heard if isinstance(notice, QuotaBypassed)] == [QuotaBypassed] * 2
    assert heard[0].labels() == {"name": "api", "policy": "allow"}
    with pytest.raises(kind):
        await Quota("api", daily(2), store=store, on_outage="raise").acquire("x")


async def test_a_store_with_a_clock_that_jumps_from_day_to_day_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class Jumping(VirtualClock):
        def now_us(self) -> int:
            self.advance(86_400.0)
            return super().now_us()

    with Jumping():
        decision = await Quota("api", daily(1), on_outage="refuse").acquire("x")
    assert not decision.allowed


async def test_random_histories_are_the_ledgers(clock: VirtualClock) -> None:
    chance = random.Random(5)
    plans = {"basic": (daily(4), monthly(30)), "pro": (weekly(25), yearly(400))}
    table = {"x": "basic"}
    quota = Quota("api", plans, plan=table, zone="America/New_York")
    ledger = Ledger("America/New_York", plans)
    for _ in range(1_000):
        clock.advance(chance.choice([0.0, 60.0, 3_600.0, 40_000.0, 300_000.0]))
        table["x"] = plan = chance.choice(sorted(plans))
        cost = chance.randint(1, 4)
        decision = await quota.acquire("x", cost)
        assert decision.allowed is ledger.acquire(plan, cost, clock.now_us())
        assert decision.remaining <= max(each.remaining for each in decision.standings)
        if decision.allowed:
            assert decision.remaining == ledger.remaining(plan, clock.now_us())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"plans": []}, "plans must hold an Allowance or several"),
        ({"plans": {}}, "plans must have one plan or more"),
        ({"plans": [daily(1), daily(2)]}, "plans must not name a period twice"),
        ({"plans": {"a": daily(1)}}, "plan must say which of several plans"),
        ({"plans": daily(1), "plan": {}}, "plan must say which of several plans"),
        ({"plans": daily(1), "on_outage": "panic"}, "on_outage must be one of 'allow', 'refuse', 'raise'"),
        ({"plans": daily(1), "notify_at": (0.0,)}, "notify_at must hold shares above 0"),
        ({"plans": daily(1), "zone": "Nowhere"}, "zone must name a time zone"),
        ({"plans": daily(1), "month_begins": 32}, "month_begins must be a whole number from 1 to 31"),
        ({"plans": daily(1), "keys_max": 0}, "keys_max must be a whole number of 1 or more"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Quota("api", **settings)


@pytest.mark.parametrize("count", [0, 10**12 + 1, 1.5, True])
def test_a_bad_count_is_named(count: Any) -> None:
    with pytest.raises(ValueError, match="count must be a whole number"):
        monthly(count)
    with pytest.raises(ValueError, match="period must be one of 'day', 'week', 'month', 'year'"):
        Allowance(1, "hour")  # type: ignore[arg-type]


async def test_a_cost_that_could_never_pass_and_a_key_that_is_none_are_refused() -> None:
    quota = Quota("api", [daily(5), monthly(50)])
    for cost in (0, 6, True, 1.0):
        with pytest.raises(ValueError, match="cost must be a whole number from 1 to 5, the smallest allowance"):
            await quota.acquire("x", cost=cost)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a key must be a string"):
        await quota.acquire(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a key must be at most 1024 bytes"):
        await quota.acquire("é" * 513)
    assert quota.describe() == "Quota 'api' (5 a day, 50 a month; UTC)"
