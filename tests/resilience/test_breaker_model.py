"""The circuit against a naive oracle that keeps every call in a list and counts it again each time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sdpatterns import CircuitBreaker, Window
from sdpatterns.core.outcome import Outcome
from sdpatterns.core.runtime import finish
from sdpatterns.errors import CircuitIsOpen
from sdpatterns.resilience.breaker import BreakerConfig, CircuitState
from sdpatterns.resilience.breaker.decision import Circuit
from sdpatterns.resilience.breaker.guard import CircuitPermit
from sdpatterns.testing.clock import VirtualClock
from tests.threads import in_threads

CONFIGS = st.builds(
    BreakerConfig,
    failure_rate=st.sampled_from([0.3, 0.5, 1.0]),
    consecutive=st.sampled_from([None, 2, 4]),
    slow_call_s=st.just(2.0),
    slow_call_rate=st.sampled_from([0.4, 1.0]),
    window=st.sampled_from([Window.calls(1), Window.calls(5), Window.seconds(10, steps=5), Window.seconds(3, steps=1)]),
    calls_min=st.sampled_from([None, 1]),
    open_s=st.just(4.0),
    open_growth=st.sampled_from([1.0, 2.0]),
    open_max_s=st.just(10.0),
    probes=st.integers(1, 3),
    probe_successes=st.integers(1, 3),
    half_open_max_s=st.just(6.0),
)


@dataclass
class Oracle:
    """The rules in their plainest words; nothing is forgotten, everything is counted again."""

    config: BreakerConfig
    state: str = "closed"
    generation: int = 0
    trips: int = 0
    open_until: float = 0.0
    probes_out: list[float] = field(default_factory=list)
    probes_good: int = 0
    calls: list[tuple[float, bool, bool]] = field(default_factory=list)

    def enter(self, now: float) -> tuple[str, int] | None:
        if self.state == "open" and now >= self.open_until:
            self.change("half_open")
        if self.state == "half_open" and self.probes_out and now >= self.probes_out[0] + self.config.half_open_max_s:
            self.trip(now)
        if self.state == "closed":
            return "call", self.generation
        if self.state == "half_open" and len(self.probes_out) < self.config.probes:
            self.probes_out.append(now)
            return "probe", self.generation
        return None

    def change(self, state: str) -> None:
        self.state = state
        self.generation += 1
        self.probes_out = []
        self.probes_good = 0
        if state == "closed":
            self.calls = []
            self.trips = 0

    def trip(self, now: float) -> None:
        self.trips += 1
        config = self.config
        self.change("open")
        self.open_until = now + min(config.open_max_s, config.open_s * config.open_growth ** (self.trips - 1))

    def leave(self, permit: tuple[str, int], now: float, failed: bool, slow: bool, says_nothing: bool) -> None:
        if permit[1] != self.generation:
            return
        if permit[0] == "probe":
            self.probes_out.pop(0)
            if says_nothing:
                return
            if failed or slow:
                self.trip(now)
                return
            self.probes_good += 1
            if self.probes_good >= self.config.probe_successes:
                self.change("closed")
            return
        if not says_nothing:
            self.calls.append((now, failed, slow))
            if (failed or slow) and self.is_met(now):
                self.trip(now)

    def in_window(self, now: float) -> list[tuple[float, bool, bool]]:
        window = self.config.window
        if window.calls_max is not None:
            return self.calls[-window.calls_max :]
        assert window.span_s is not None
        width = window.span_s / window.steps
        return [call for call in self.calls if int(call[0] / width) > int(now / width) - window.steps]

    def streak(self) -> int:
        length = 0
        for _, failed, _ in reversed(self.calls):
            if not failed:
                break
            length += 1
        return length

    def is_met(self, now: float) -> bool:
        config, calls = self.config, self.in_window(now)
        if config.consecutive is not None and self.streak() >= config.consecutive:
            return True
        if len(calls) < config.calls_needed:
            return False
        failures, slow = sum(call[1] for call in calls), sum(call[2] for call in calls)
        assert config.failure_rate is not None
        assert config.slow_call_rate is not None
        return failures / len(calls) >= config.failure_rate or slow / len(calls) >= config.slow_call_rate


class Circuits(RuleBasedStateMachine):
    """Calls overlap: each enters at one time and leaves at a later one, in any order."""

    @initialize(config=CONFIGS)
    def build(self, config: BreakerConfig) -> None:
        self.clock = VirtualClock()
        self.clock.install()
        names = BreakerConfig.__dataclass_fields__
        self.breaker = CircuitBreaker("model", **{name: getattr(config, name) for name in names})
        self.oracle = Oracle(config)
        self.inside: list[tuple[CircuitPermit, tuple[str, int], float]] = []

    def teardown(self) -> None:
        if hasattr(self, "clock"):
            self.clock.uninstall()

    @rule()
    def enter(self) -> None:
        now = self.clock.monotonic()
        expected = self.oracle.enter(now)
        if expected is not None:
            self.inside.append((finish(self.breaker.enter("")), expected, now))
            return
        with pytest.raises(CircuitIsOpen) as caught:
            finish(self.breaker.enter(""))
        if self.oracle.state == "open":
            assert caught.value.retry_after_s == pytest.approx(self.oracle.open_until - now)

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), ending=st.sampled_from(["fine", "fine", "failed", "cancelled"]))
    def leave(self, data: st.DataObject, ending: str) -> None:
        permit, expected, began = self.inside.pop(data.draw(st.integers(0, len(self.inside) - 1)))
        now = self.clock.monotonic()
        self.oracle.leave(expected, now, ending == "failed", now - began >= 2.0, ending == "cancelled")
        error: BaseException | None = {"failed": OSError(), "cancelled": KeyboardInterrupt()}.get(ending)
        outcome = {"failed": Outcome.FAILURE, "cancelled": Outcome.CANCELLED}.get(ending, Outcome.SUCCESS)
        self.breaker.leave(permit, outcome, error)

    @rule(pattern=st.lists(st.sampled_from([True, True, True, False]), min_size=1, max_size=8))
    def call(self, pattern: list[bool]) -> None:
        """Whole calls one after another, through the shorter way that `protect` takes."""
        for works in pattern:
            self.call_once(works)

    def call_once(self, works: bool) -> None:
        now = self.clock.monotonic()
        expected = self.oracle.enter(now)

        def work() -> None:
            if not works:
                raise OSError

        try:
            self.breaker.protect(work)()
        except CircuitIsOpen:
            assert expected is None
        except OSError:
            assert not works
        if expected is not None:
            self.oracle.leave(expected, now, not works, False, False)
        self.same()

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.0, 4.0, 7.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.oracle.state != "closed")
    @rule()
    def close(self) -> None:
        self.breaker.close()
        self.oracle.change("closed")

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "oracle"):
            return
        now, oracle = self.clock.monotonic(), self.oracle
        snapshot = self.breaker.snapshot()
        assert snapshot.state.value == oracle.state
        if oracle.state == "closed":
            calls = oracle.in_window(now)
            counted = (len(calls), sum(call[1] for call in calls), sum(call[2] for call in calls), oracle.streak())
            assert (snapshot.calls, snapshot.failures, snapshot.slow, snapshot.consecutive) == counted


Circuits.TestCase.settings = settings(stateful_step_count=40, deadline=None)
TestCircuits = Circuits.TestCase


def test_a_circuit_that_closed_since_its_caller_looked_lets_it_in() -> None:
    circuit = Circuit(BreakerConfig(consecutive=1), lambda: 0.0)
    assert circuit.admit(0.0).term is circuit.closed


@pytest.mark.parametrize("window", [Window.calls(100_000), Window.seconds(3600)], ids=str)
def test_eight_threads_count_every_call(window: Window) -> None:
    breaker = CircuitBreaker("busy", failure_rate=1.0, slow_call_s=60.0, slow_call_rate=1.0, window=window)

    @breaker.protect
    def work(number: int) -> None:
        if number % 4 == 0:
            raise OSError

    def many() -> None:
        for number in range(2_000):
            try:
                work(number)
            except OSError:
                pass

    in_threads(many)
    snapshot = breaker.snapshot()
    assert (snapshot.calls, snapshot.failures) == (16_000, 4_000)


def test_eight_threads_get_the_configured_probes_and_no_more(virtual_clock: VirtualClock) -> None:
    breaker = CircuitBreaker("busy", consecutive=1, open_s=1.0, probes=3, probe_successes=3)
    for _ in range(50):
        reached: list[int] = []
        breaker.close()
        with pytest.raises(OSError, match="down"):
            breaker.protect(_fail)()
        virtual_clock.advance(1.0)
        done = threading.Barrier(8)

        def one(reached: list[int] = reached, done: threading.Barrier = done) -> None:
            try:
                permit = finish(breaker.enter(""))
            except CircuitIsOpen:
                done.wait()
            else:
                reached.append(1)
                done.wait()
                breaker.leave(permit, Outcome.SUCCESS, None)

        in_threads(one)
        assert len(reached) == 3
        assert breaker.state is CircuitState.CLOSED


def _fail() -> None:
    raise OSError("down")


def test_eight_threads_share_one_circuit_for_each_key() -> None:
    breaker = CircuitBreaker("busy", failure_rate=1.0, window=Window.calls(100_000), keys_max=50)

    def many() -> None:
        for number in range(2_000):
            breaker.by(str(number % 40)).protect(_nothing)()

    in_threads(many)
    counts = [snapshot.calls for snapshot in breaker.snapshots() if snapshot.key]
    assert counts == [400] * 40


def _nothing() -> None:
    return None
