"""Every algorithm passes the public contract, one of a user's too; and the contract finds faults."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sdpatterns import Rate, RateLimiter
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.core.runtime import finish
from sdpatterns.errors import RateLimited
from sdpatterns.testing.contracts import AlgorithmContract, ScriptedAlgorithmContract
from sdpatterns.traffic.ratelimit import GCRA, Algorithm, FixedWindow
from tests.loops import on_virtual_asyncio
from tests.traffic.ratelimit.algorithms import ALGORITHMS

Numbers = tuple[int, ...]


class Lockout:
    """A user's own: `count` requests, then none until a period has passed since the last. Derives from nothing."""

    name = "lockout"
    initial: Numbers = (0, 0)
    may_start_late = False
    lua: str | None = """
local initial = { 0, 0 }

local function advance(state, now, cost, params)
  local start, used = math.max(now, state[2]), state[1]
  if start >= state[2] + params[2] then used = 0 end
  if used + cost > params[1] then start, used = state[2] + params[2], 0 end
  return { used + cost, start }, start
end

local function idle_at(state, params) return state[2] + params[2] end
"""

    def params(self, rate: Rate) -> Numbers:
        return rate.count, rate.window_us

    def advance(self, state: Numbers, now_us: int, cost: int, params: Numbers) -> tuple[Numbers, int]:
        most, pause_us = params
        start_us, used = max(now_us, state[1]), state[0]
        if start_us >= state[1] + pause_us:
            used = 0
        if used + cost > most:
            start_us, used = state[1] + pause_us, 0
        return (used + cost, start_us), start_us

    def idle_at_us(self, state: Numbers, params: Numbers) -> int:
        return state[1] + params[1]

    def remaining(self, state: Numbers, now_us: int, params: Numbers) -> int:
        if state[1] > now_us:
            return 0
        return params[0] if now_us >= self.idle_at_us(state, params) else params[0] - state[0]

    def limit(self, rate: Rate) -> int:
        return rate.count

    def ahead_max_us(self, rate: Rate) -> int:
        return 2**53


EACH: dict[str, Algorithm] = {**ALGORITHMS, "lockout": Lockout()}


@pytest.mark.parametrize("name", EACH)
class TestEach(AlgorithmContract):
    @pytest.fixture(autouse=True)
    def _of(self, name: str) -> None:
        self.algorithm = EACH[name]

    def build(self) -> Algorithm:
        return self.algorithm


@pytest.mark.parametrize("name", EACH)
class TestScript(ScriptedAlgorithmContract):
    @pytest.fixture(autouse=True)
    def _of(self, name: str, valkey_url: str) -> None:
        self.algorithm, self.url = EACH[name], valkey_url

    def build(self) -> Algorithm:
        return self.algorithm

    def backend(self) -> Any:
        return RedisBackend.from_url(self.url, blocking=True)


def test_a_limiter_counts_by_an_object_that_only_has_the_members() -> None:
    for store in (None, MemoryBackend().states):
        limiter = RateLimiter("login", Rate(2, 3600.0), algorithm=Lockout(), store=store)
        found = [limiter.acquire_now("ann") for _ in range(3)]
        assert [decision.allowed for decision in found] == [True, True, False]
        assert (found[0].remaining, found[2].remaining, found[0].limit) == (1, 0, 2)
        assert found[2].retry_after_s == pytest.approx(3600.0, abs=1.0)
    assert "lockout" in limiter.describe()


@pytest.mark.anyio
@on_virtual_asyncio
async def test_a_limiter_waits_and_cancels_by_an_algorithm_of_a_user() -> None:
    limiter = RateLimiter("login", Rate(1, 10.0), algorithm=Lockout())
    await limiter.wait("ann")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await limiter.wait("ann")
    assert (await limiter.peek("ann")).retry_after_s == pytest.approx(9.0, abs=1e-3)
    await limiter.wait("ann")
    with pytest.raises(RateLimited):
        await limiter.wait("ann", max_wait_s=9.0)


def test_what_lacks_a_member_is_refused_with_its_name() -> None:
    class Half:
        name = "half"
        initial = (0,)

        def params(self, rate: Rate) -> Numbers:
            return (rate.count,)

    for algorithm, message in (
        (Half(), r"algorithm must be an Algorithm, such as GCRA\(\); got .*Half without .*advance, idle_at_us"),
        (Lockout, r"algorithm must be an Algorithm, such as GCRA\(\); got Lockout$"),
        ("lockout", "got str without name"),
    ):
        with pytest.raises(TypeError, match=message):
            RateLimiter("login", Rate(1, 1.0), algorithm=algorithm)  # type: ignore[arg-type]


class Miscounting(FixedWindow):
    def remaining(self, state: Numbers, now_us: int, params: Numbers) -> int:
        return super().remaining(state, now_us, params) + 1


class Forgetful(GCRA):
    def idle_at_us(self, state: Numbers, params: Numbers) -> int:
        return state[0] - params[0]


class Counting(Lockout):
    def __init__(self) -> None:
        self.seen = 0

    def advance(self, state: Numbers, now_us: int, cost: int, params: Numbers) -> tuple[Numbers, int]:
        self.seen += 1
        return super().advance(state, now_us, cost + self.seen % 2, params)


class Overtaking(Lockout):
    def advance(self, state: Numbers, now_us: int, cost: int, params: Numbers) -> tuple[Numbers, int]:
        after, _ = super().advance(state, now_us, cost, params)
        return after, now_us - 1


@pytest.mark.parametrize("broken", [Miscounting, Forgetful, Counting, Overtaking])
def test_the_contract_finds_a_fault(broken: Any) -> None:
    class Contract(AlgorithmContract):
        def build(self) -> Algorithm:
            return broken()

    found = []
    for name in dir(Contract):
        if name.startswith("test_"):
            try:
                getattr(Contract(), name)()
            except AssertionError:
                found.append(name)
    assert found


def test_the_contract_of_scripts_finds_a_script_that_decides_otherwise(valkey_url: str) -> None:
    class Lenient(Lockout):
        lua = Lockout.lua.replace("used + cost", "used") if Lockout.lua else None

    class Contract(ScriptedAlgorithmContract):
        def build(self) -> Algorithm:
            return Lenient()

        def backend(self) -> Any:
            return RedisBackend.from_url(valkey_url, blocking=True)

    with pytest.raises(AssertionError):
        Contract().test_the_script_leaves_what_python_would_have_left()
    assert finish(RateLimiter("login", Rate(1, 1.0), algorithm=Lenient()).acquire("x")).allowed
