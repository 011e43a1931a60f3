"""Callers behind one circuit breaker, and a callee on a bad network that is sometimes ill.

The oracle is a breaker written as naively as possible: it keeps every outcome in a list and works
everything out again at each call. Promises: a call is admitted or refused exactly when the oracle
says so; while half-open, no more than the configured probes are out; an outcome counts only for the
term in which its call was admitted, so no late success closes a circuit and no late failure opens
one; a cancelled call counts neither way and, if it was a probe, gives its place back.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, ClassVar

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.notices import Notice, listen
from sdpatterns.core.step import Repeats, Step, unchanged
from sdpatterns.errors import BackendError, CircuitIsOpen
from sdpatterns.ports.states import Cells, Space
from sdpatterns.resilience.breaker import CircuitBreaker, Window
from sdpatterns.resilience.breaker.notices import CircuitClosed, CircuitHalfOpened, CircuitOpened
from sdpatterns.testing.simulation.world import Run

__all__ = ["BreakerWorld", "NaiveBreaker"]

_HALF_OPEN_MAX_S = 60.0


class BreakerWorld:
    """See the module."""

    name = "breaker"
    sometimes = (
        "delayed", "unsent", "lost_before", "lost_after", "away", "parted",
        "passed", "failed", "refused", "cancelled", "probe_cancelled", "late_success", "late_failure",
        "opened", "half_opened", "closed", "probes_full", "probe_failed", "probe_overdue",
    )  # fmt: skip

    async def play(self, run: Run) -> None:
        """Some callers for a few minutes."""
        ward = _Ward(run)
        with listen(ward.hear):
            await run.all_of(ward.caller(number) for number in range(run.chance.randint(2, 10)))


@dataclasses.dataclass
class _Term:
    """One stretch of time in one state. `out` has the begin of each call that is under way; `outcomes` are
    True for a failure, in their order.
    """

    state: str
    since_s: float
    open_s: float = 0.0
    out: list[float] = dataclasses.field(default_factory=list)
    outcomes: list[bool] = dataclasses.field(default_factory=list)


class NaiveBreaker:
    """The oracle: a list of terms, the last of which is the present one."""

    def __init__(self, *, consecutive: int | None, calls: int, rate: float, probes: int, successes: int) -> None:
        self.consecutive = consecutive
        self.calls = calls
        self.rate = rate
        self.probes = probes
        self.successes = successes
        self.terms = [_Term("closed", 0.0)]

    @property
    def present(self) -> _Term:
        """The term that counts."""
        return self.terms[-1]

    def admit(self, now_s: float, open_s: float) -> _Term | None:
        """The term of a call that comes now, or None for a refusal."""
        if self.present.state == "open" and now_s >= self.present.since_s + self.present.open_s:
            self.terms.append(_Term("half_open", now_s))
        term = self.present
        if term.state == "half_open" and term.out and now_s >= term.out[0] + _HALF_OPEN_MAX_S:
            self.terms.append(_Term("open", now_s, open_s))
        elif term.state == "closed" or (term.state == "half_open" and len(term.out) < self.probes):
            term.out.append(now_s)
            return term
        return None

    def end(self, term: _Term, now_s: float, open_s: float, *, failed: bool | None) -> None:
        """A call of that term ended: well, badly, or cancelled (None)."""
        term.out.pop(0)
        if failed is None or term is not self.present:
            return
        term.outcomes.append(failed)
        if term.state == "half_open":
            if failed:
                self.terms.append(_Term("open", now_s, open_s))
            elif len(term.outcomes) >= self.successes:
                self.terms.append(_Term("closed", now_s))
        elif failed and self._is_ill(term.outcomes):
            self.terms.append(_Term("open", now_s, open_s))

    def _is_ill(self, outcomes: list[bool]) -> bool:
        if self.consecutive is not None:
            return len(outcomes) >= self.consecutive and all(outcomes[-self.consecutive :])
        seen = outcomes[-self.calls :]
        return len(seen) >= self.calls and sum(seen) / len(seen) >= self.rate


class _Visit:
    """A call on the callee's store; reads nothing, writes nothing."""

    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __call__(self, states: Any, now_us: int, /) -> Step[Any, None]:
        return unchanged(None)


class _Ward:
    def __init__(self, run: Run) -> None:
        self.run = run
        chance = run.chance
        consecutive = chance.choice([None, 1, 2, 4])
        calls, rate = chance.choice([1, 3, 6]), chance.choice([0.3, 0.5, 1.0])
        probes, successes = chance.randint(1, 3), chance.randint(1, 3)
        self.naive = NaiveBreaker(consecutive=consecutive, calls=calls, rate=rate, probes=probes, successes=successes)
        self.open_s = 0.0
        how: dict[str, Any] = {"consecutive": consecutive} if consecutive else {"failure_rate": rate}
        self.breaker = CircuitBreaker(
            "callee",
            **how,
            window=Window.calls(calls),
            calls_min=calls,
            open_s=chance.choice([0.5, 5.0]),
            open_growth=chance.choice([1.0, 2.0]),
            open_jitter=chance.choice([0.0, 0.3]),
            probes=probes,
            probe_successes=successes,
            half_open_max_s=_HALF_OPEN_MAX_S,
            failures=(BackendError, _Ill),
            random=chance.random,
        )
        _, client = run.store(lambda _: None, run.plan(stepped=False))
        self.callee: Cells[tuple[int, ...]] = client.cells(Space("callee", IntegersCodec()))
        self.illness = chance.choice([0.0, 0.1, 0.5])
        self.protected = self.breaker.protect(self.visit)

    def hear(self, notice: Notice) -> None:
        """Check what the breaker says of itself, and take from it the time it drew to stay open."""
        if isinstance(notice, CircuitOpened):
            assert notice.open_s is not None
            self.open_s = notice.open_s
            self.run.note("opened", notice.reason)
            self.run.counts["probe_overdue"] += notice.reason == "probe_time"
            self.run.counts["probe_failed"] += notice.reason == "probe"
        elif isinstance(notice, CircuitHalfOpened):
            self.run.note("half_opened")
        elif isinstance(notice, CircuitClosed):
            self.run.note("closed", notice.reason)

    async def caller(self, number: int) -> None:
        """One caller: calls, is refused, gives up, and comes again."""
        chance = self.run.chance
        for _ in range(chance.randint(5, 25)):
            await asyncio.sleep(chance.choice([0.0, 0.1, 2.0, 8.0]) * chance.random())
            task = asyncio.ensure_future(self.call())
            if chance.random() < 0.15:
                await asyncio.wait({task}, timeout=chance.random() * 2.0)
                task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                self.run.note_cancelled(task, "cancelled", number)
        self.illness = chance.choice([0.0, 0.1, 0.9])

    async def call(self) -> None:
        """One call through the breaker, and the same through the oracle in the same moment."""
        try:
            await self.protected()
        except CircuitIsOpen:
            self._refused()
        except (BackendError, _Ill):
            return

    def _refused(self) -> None:
        before = self.naive.present
        if self.naive.admit(SYSTEM.monotonic(), self.open_s) is not None:
            self.run.violated(f"refused, though the oracle is {before.state}: {before}")
        self.run.note("refused")
        self.run.counts["probes_full"] += self.naive.present.state == "half_open"

    async def visit(self) -> None:
        """What is protected. Nothing suspends between the breaker's decision and its first line."""
        term = self.naive.admit(SYSTEM.monotonic(), self.open_s)
        if term is None:
            self.run.violated(f"admitted, though the oracle is {self.naive.present.state}: {self.naive.present}")
            return
        failed: bool | None = None
        try:
            failed = await self._treated()
        finally:
            self._ended(term, failed=failed)
        if failed:
            raise _Ill

    async def _treated(self) -> bool:
        chance = self.run.chance
        await asyncio.sleep(chance.choice([0.0, 0.5, 3.0, 100.0]) * chance.random() ** 4)
        try:
            await self.callee.transact("any", _Visit())
        except BackendError:
            return True
        return chance.random() < self.illness

    def _ended(self, term: _Term, *, failed: bool | None) -> None:
        late = term is not self.naive.present
        self.run.note("cancelled" if failed is None else "failed" if failed else "passed", term.state)
        if failed is None:
            self.run.counts["probe_cancelled"] += term.state == "half_open"
        elif late:
            self.run.counts["late_failure" if failed else "late_success"] += 1
        # The breaker settles in this same turn, right after us, and draws its open time then.
        terms = len(self.naive.terms)
        self.naive.end(term, SYSTEM.monotonic(), float("nan"), failed=failed)
        if len(self.naive.terms) > terms and self.naive.present.state == "open":
            asyncio.get_running_loop().call_soon(self._learn, self.naive.present)

    def _learn(self, term: _Term) -> None:
        term.open_s = self.open_s


class _Ill(Exception):
    """The callee is ill."""
