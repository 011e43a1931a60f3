"""The circuit breaker around calls."""

from __future__ import annotations

import math
import random as random_numbers
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.guard import StatefulGuard
from sdpatterns.core.judging import at_once, plain
from sdpatterns.core.keys import KeyOf, check_name
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.outcome import Outcome
from sdpatterns.core.policy import AsyncCall, Policy
from sdpatterns.core.ranges import seconds, whole
from sdpatterns.core.tracing import TRACERS, in_span
from sdpatterns.errors import CircuitIsOpen, DeadlineExceeded, Rejected
from sdpatterns.resilience.breaker.circuits import Circuits
from sdpatterns.resilience.breaker.config import BreakerConfig, Window
from sdpatterns.resilience.breaker.decision import (
    Admission,
    Circuit,
    CircuitMode,
    CircuitState,
    StateChange,
    Term,
)
from sdpatterns.resilience.breaker.notices import (
    CallRefused,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitShared,
)
from sdpatterns.resilience.breaker.tally import FAILED, FINE, SLOW
from sdpatterns.resilience.matching import Errors, matcher

__all__ = ["CircuitBreaker", "CircuitPermit", "CircuitSnapshot"]

_KEYS_LIMIT = 1_000_000


class CircuitPermit(NamedTuple):
    """One admitted call: its circuit, the term it counts for, and when it began."""

    circuit: Circuit
    term: Term
    started_s: float

    def __repr__(self) -> str:
        key = f" of key {self.circuit.key!r}" if self.circuit.key else ""
        return f"<CircuitPermit: {self.circuit.state.value} circuit{key}>"


class CircuitSnapshot(NamedTuple):
    """One circuit as it stands. The counts are those of the window (of the last one, once open)."""

    name: str
    key: str
    state: CircuitState
    mode: CircuitMode
    calls: int
    failures: int
    slow: int
    consecutive: int
    retry_after_s: float | None


def is_callees_failure(error: Exception) -> bool:
    """Whether an exception is a failure of the callee, if `failures` does not say it.

    A refusal by a guard further in, or a call without any time left, never reached the callee.
    """
    if isinstance(error, DeadlineExceeded):
        return error.timeout_s > 0
    return not isinstance(error, Rejected)


class CircuitBreaker(StatefulGuard):
    """Stops calls to a service that fails: refuses them for `open_s`, then lets a few probe calls test it.

    ```python
    import asyncio
    from sdpatterns import CircuitBreaker, Window

    breaker = CircuitBreaker("quotes", failure_rate=0.5, window=Window.calls(100), open_s=30.0)

    @breaker.protect
    async def fetch_quote(symbol: str) -> float:
        return 101.5

    assert asyncio.run(fetch_quote("ACME")) == 101.5
    ```

    It opens when one of the given conditions holds: `consecutive` failures in a row; a share
    `failure_rate` of the window failed; a share `slow_call_rate` took `slow_call_s` or longer. A
    rate counts once the window holds `calls_min` calls. With no condition, `failure_rate=0.5`.

    A failure is an exception that `failures` matches, or a result for which `on_result` returns true. Other
    exceptions count neither way, and so does, unless you name it, a `Rejected` from a part further
    in. If `failures` itself raises, the exception is a failure, and the log says so. A cancelled
    call says nothing about the callee and counts neither way.

    The open time is `open_s`, times `open_growth` each time the probes fail, up to `open_max_s`,
    plus a random share up to `open_jitter`. Then at most `probes` calls at once are let through;
    `probe_successes` of them close the circuit, one failure opens it again, and so does a probe that
    is not back after `half_open_max_s` when the next call comes.

    By hand: `open`, `close`, `disable`, `observe` (report what would be refused), `auto`. With a key
    (`breaker.by("eu-1")`, `breaker.guard("eu-1")`) each key has its own circuit, `keys_max` of
    them (new keys beyond share one); a key unused for `idle_s` starts from zero. One set by hand always has
    its own.

    **Keeps**: when the open time is over, exactly `probes` of any number of callers reach the callee.
    A call that started before the circuit opened cannot close it. A
    probe that is cancelled gives its place back. No lock is held while a call runs. Time is
    monotonic. Each refusal is a fresh exception.

    **May fail** with `CircuitIsOpen`, which carries `retry_after_s` where that is known.

    **Costs** 0.2 to 0.6 µs a call, however large the window is; one byte for each call of a
    window of calls; never a checkpoint, so that it may stand on a plain function.
    """

    traits = frozenset({"counts_outcomes"})

    def __init__(
        self,
        name: str,
        /,
        *,
        failure_rate: float | None = None,
        consecutive: int | None = None,
        slow_call_s: float | None = None,
        slow_call_rate: float | None = None,
        window: Window | None = None,
        calls_min: int | None = None,
        open_s: float = 30.0,
        open_growth: float = 1.0,
        open_max_s: float | None = None,
        open_jitter: float = 0.0,
        probes: int = 1,
        probe_successes: int = 1,
        half_open_max_s: float = 60.0,
        failures: Errors = is_callees_failure,
        on_result: Callable[[Any], bool] | None = None,
        keys_max: int = 10_000,
        idle_s: float = 3_600.0,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        if failure_rate is None and consecutive is None and slow_call_rate is None:
            failure_rate = 0.5
        self.name = check_name("CircuitBreaker", name)
        self._config = BreakerConfig(
            failure_rate=failure_rate,
            consecutive=consecutive,
            slow_call_s=slow_call_s,
            slow_call_rate=slow_call_rate,
            window=Window.calls(100) if window is None else window,
            calls_min=calls_min,
            open_s=open_s,
            open_growth=open_growth,
            open_max_s=max(600.0, seconds("open_s", open_s)) if open_max_s is None else open_max_s,
            open_jitter=open_jitter,
            probes=probes,
            probe_successes=probe_successes,
            half_open_max_s=half_open_max_s,
        )
        self._fails = matcher("failures", failures, otherwise=True)
        self._on_result = None if on_result is None else plain("on_result", on_result)
        self._slow_s = math.inf if slow_call_s is None else slow_call_s
        whole("keys_max", keys_max, 1, _KEYS_LIMIT)
        self._circuits = Circuits(self._config, plain("random", random), keys_max, seconds("idle_s", idle_s))
        self._circuit = self._circuits.keyless

    @property
    def never_waits(self) -> bool:
        """Always: a call passes or is refused."""
        return True

    @property
    def state(self) -> CircuitState:
        """The state of the circuit without a key. It turns half-open with the first call, not by time."""
        return self._circuit.state

    def describe(self) -> str:
        """What opens it and for how long."""
        config = self._config
        return f"CircuitBreaker {self.name!r}: open for {config.open_s:g} s after {config.conditions()}"

    def standing(self) -> str:
        """The state of the circuit without a key, its failure rate, and how many keys have one."""
        circuit, tally, keys = self._circuit, self._circuit.tally, len(self._circuits)
        by_hand = "" if circuit.mode is CircuitMode.AUTO else f" ({circuit.mode.value})"
        said = [circuit.state.value + by_hand]
        if tally.calls:
            said.append(f"{tally.failures / tally.calls:.0%} of {tally.calls} calls failed")
        if keys:
            said.append(f"{keys} keys with a circuit each")
        return ", ".join(said)

    def snapshot(self, key: str = "") -> CircuitSnapshot:
        """One circuit as it stands; a key not in use shows as a fresh one."""
        circuit = self._circuits.peek(key) if key else self._circuit
        now_s = SYSTEM.monotonic()
        with circuit.lock:
            tally = circuit.tally
            tally.expire(now_s)
            until_s = circuit.open_until_s
            return CircuitSnapshot(
                self.name,
                key,
                circuit.state,
                circuit.mode,
                tally.calls,
                tally.failures,
                tally.slow,
                tally.streak,
                None if until_s is None else max(0.0, until_s - now_s),
            )

    def snapshots(self) -> list[CircuitSnapshot]:
        """All circuits in use by key, after the one without."""
        return [self.snapshot(key) for key in ("", *self._circuits.keys())]

    def open(self, key: str = "") -> None:
        """Refuse every call until `close` or `auto`."""
        self._by_hand(key, Circuit.force_open)

    def close(self, key: str = "") -> None:
        """Let every call pass and count from zero; from here on the calls decide."""
        self._by_hand(key, Circuit.close)

    def disable(self, key: str = "") -> None:
        """Let every call pass, and count nothing, until `close` or `auto`."""
        self._by_hand(key, Circuit.disable)

    def observe(self, key: str = "") -> None:
        """Go on as before, but only report what would be refused, until `auto`."""
        self._by_hand(key, lambda circuit: circuit.automatic(CircuitMode.OBSERVING))

    def auto(self, key: str = "") -> None:
        """Let the calls decide again. A circuit that `open` held open probes first."""
        self._by_hand(key, lambda circuit: circuit.automatic(CircuitMode.AUTO))

    def _by_hand(self, key: str, act: Callable[[Circuit], StateChange | None]) -> None:
        circuit = self._circuits.own(key, SYSTEM.monotonic()) if key else self._circuit
        with circuit.lock:
            change = act(circuit)
        self._tell_change(circuit, change)

    def _of(self, key: str) -> Circuit:
        if not key:
            return self._circuit
        circuit, is_shared = self._circuits.of(key, SYSTEM.monotonic())
        if is_shared and LISTENERS:
            tell(CircuitShared(name=self.name, key=key))
        return circuit

    async def enter(self, key: str, /) -> CircuitPermit:
        """Be admitted, or raise `CircuitIsOpen`. Never suspends."""
        circuit = self._of(key)
        # Read without the lock, because a closed circuit admits every call. If it opens in this moment, the call
        # runs, and its outcome counts for a tally that is over: it changes nothing.
        term = circuit.closed or self._admit(circuit)
        return CircuitPermit(circuit, term, SYSTEM.monotonic())

    def leave(self, permit: CircuitPermit, outcome: Outcome, error: BaseException | None, /) -> None:
        """Count how the call ended."""
        circuit, term, started_s = permit
        if error is not None:
            self._failed(circuit, term, started_s, error)
            return
        now_s = SYSTEM.monotonic()
        self._settle(circuit, term, SLOW if now_s - started_s >= self._slow_s else FINE, now_s)

    def _admit(self, circuit: Circuit) -> Term:
        """Admission to a circuit that is not simply closed."""
        with circuit.lock:
            admission = circuit.admit(SYSTEM.monotonic())
        self._tell_change(circuit, admission.change)
        if admission.refused and LISTENERS:
            self._tell_refusal(circuit, admission)
        if admission.term is None:
            raise CircuitIsOpen(self.name, circuit.key, retry_after_s=admission.retry_after_s)
        return admission.term

    def _failed(
        self, circuit: Circuit, term: Term, started_s: float, error: BaseException, *, of_callee: bool = True
    ) -> None:
        """A call raised: a failure, or nothing that counts, as an `on_result` that cannot judge."""
        counts = False
        try:
            counts = of_callee and isinstance(error, Exception) and self._fails(error)
        finally:
            # In `finally`, because `failures` is your function: if it raises, the place of a probe is freed too.
            if not counts:
                with circuit.lock:
                    circuit.release(term)
        if counts:
            now_s = SYSTEM.monotonic()
            slow = SLOW if now_s - started_s >= self._slow_s else FINE
            self._settle(circuit, term, FAILED | slow, now_s)

    def _settle(self, circuit: Circuit, term: Term, verdict: int, now_s: float) -> None:
        with circuit.lock:
            change = circuit.settle(term, verdict, now_s)
        # Listeners run after the lock is released, because they are your code and may call the breaker.
        if change is not None:
            self._tell_change(circuit, change)

    def _tell_change(self, circuit: Circuit, change: StateChange | None) -> None:
        if change is None or not LISTENERS:
            return
        name, key = self.name, circuit.key
        if change.state is CircuitState.OPEN:
            tell(CircuitOpened(name=name, key=key, reason=change.reason, open_s=change.open_s))
        elif change.state is CircuitState.CLOSED:
            tell(CircuitClosed(name=name, key=key, reason=change.reason))
        else:
            tell(CircuitHalfOpened(name=name, key=key))

    def _tell_refusal(self, circuit: Circuit, admission: Admission) -> None:
        after_s, enforced = admission.retry_after_s, admission.term is None
        tell(CallRefused(name=self.name, key=circuit.key, retry_after_s=after_s, enforced=enforced))

    def wrap(self, call: AsyncCall, key: KeyOf | None = None, /) -> AsyncCall:  # noqa: C901 - a call more would cost every call
        fixed, find = self._circuit, self._of
        clock, slow_s, unwanted = SYSTEM, self._slow_s, self._on_result
        admit, settle, failed = self._admit, self._settle, self._failed
        # The clock is read only if a setting needs it, because a reading costs as much as the lock.
        times_calls = slow_s < math.inf
        times_window = self._config.window.span_s is not None or times_calls

        async def guarded(*args: Any, **kwargs: Any) -> Any:
            # No parameter for the span, because one with a default costs every call as much as a reading of the clock.
            if TRACERS and kwargs.pop("_span", None) is None:
                return await in_span(self, guarded, args, kwargs)
            circuit = fixed if key is None else find(key(*args, **kwargs))
            term = circuit.closed or admit(circuit)
            started_s = clock.monotonic() if times_calls else 0.0
            try:
                result = await call(*args, **kwargs)
            except BaseException as error:
                failed(circuit, term, started_s, error)  # a cancellation too, which frees the place of a probe
                raise
            verdict = FINE
            if unwanted is not None:
                try:
                    if (said := unwanted(result)) is not False and at_once("on_result", unwanted, said):
                        verdict = FAILED
                except BaseException as error:
                    failed(circuit, term, started_s, error, of_callee=False)
                    raise
            now_s = clock.monotonic() if times_window else 0.0
            if now_s - started_s >= slow_s:
                verdict |= SLOW
            if verdict:
                settle(circuit, term, verdict, clock.monotonic())
            elif not term.spotless:
                # What `settle` does, with no more calls than a fine one needs. Taken so, the lock costs
                # half of what it does in a `with`.
                lock = circuit.lock
                lock.acquire()
                try:
                    tally = circuit.closed
                    if tally is not None and tally is term:
                        tally.fine(now_s)
                        return result
                finally:
                    lock.release()
                settle(circuit, term, FINE, now_s)
            # Else the window is full of fine calls, and the same after one more.
            return result

        return guarded

    def doubts(self, outside: Sequence[Policy], inside: Sequence[Policy], /) -> Sequence[str]:
        """What keeps it from seeing its callee fail."""
        found = []
        is_cut_short = any("limits_time" in part.traits for part in outside)
        if is_cut_short and not any("limits_time" in part.traits for part in inside):
            found.append(
                f"CircuitBreaker {self.name!r} stands inside Timeout, which cancels its calls, and a"
                " cancelled call counts for nothing: a callee that hangs never opens it"
            )
        if any("repeats" in part.traits for part in inside):
            found.append(
                f"CircuitBreaker {self.name!r} stands outside a part that repeats: it counts all"
                " attempts as one call, and stops none of them"
            )
        return found
