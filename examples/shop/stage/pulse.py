"""A service's pulse: what it answered and whom it asked in the last seconds, heard from notices alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sdpatterns.core.notices import Notice
from sdpatterns.observability.rollout import Counts
from sdpatterns.resilience.breaker import CallRefused, CircuitClosed, CircuitHalfOpened, CircuitOpened
from sdpatterns.resilience.retry import RetryScheduled
from sdpatterns.web.notices import RequestFinished

WINDOW_S = 5.0
_KEPT_MAX = 4_000
_SLOW_S = 1.0
_REPLICAS_MAX = 100

# What the control room asks for to show it: no traffic of the shop, and nothing that a fault may hit.
WATCHED = frozenset(
    {
        "/livez",
        "/readyz",
        "/metrics",
        "/admin/fault",
        "/internal/answers",
        "/internal/audit",
        "/internal/counts",
        "/internal/coupons",
        "/internal/dead-letters",
        "/internal/dead-letters/redrive",
        "/internal/defences",
        "/internal/election",
        "/internal/order-log",
        "/internal/ledger",
        "/internal/histories/{id}",
        "/internal/limiter",
        "/internal/orders-with-coupons",
        "/internal/owed",
        "/internal/payouts",
        "/internal/payouts/audit",
        "/internal/projections",
        "/internal/pulse",
        "/internal/queues",
        "/internal/sagas",
        "/internal/sagas/{run_id}",
        "/internal/sagas/{run_id}/resume",
        "/internal/switches/{name}",
        "/internal/traces",
        "/internal/traces/{trace_id}",
        "/internal/view",
        *(f"/{outsider}/v1/ledger" for outsider in ("psp", "mail", "carrier", "sellers")),
        *(f"/{outsider}/v1/visits" for outsider in ("psp", "mail", "carrier", "sellers")),
        "/control",
        "/control/live",
        "/control/{path:path}",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CallFinished(Notice):
    """A service, `name`, asked another one, at one of its replicas, and has the answer, or none."""

    to: str
    failed: bool
    duration_s: float
    at: str = ""

    def labels(self) -> dict[str, str]:
        """Who asked whom, and whether it went well."""
        return {"name": self.name, "to": self.to, "failed": str(self.failed).lower()}

    def measures(self) -> dict[str, float]:
        """The time until the answer began."""
        return {"duration_s": self.duration_s}


class _Beat(NamedTuple):
    at_s: float
    failed: bool
    duration_s: float


class Seen(NamedTuple):
    """What a window of events comes to."""

    events: int
    failed: int
    p95_ms: float


class Beats:
    """Events of the last seconds, bounded.

    Keeps: no more than `_KEPT_MAX` of them, so that a rate beyond that is told as at least that much.
    """

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._beats: deque[_Beat] = deque(maxlen=_KEPT_MAX)

    def add(self, now_s: float, *, failed: bool = False, duration_s: float = 0.0) -> None:
        """One more event."""
        self._beats.append(_Beat(now_s, failed, duration_s))

    def seen(self, now_s: float) -> Seen:
        """How many events there were, how many of them failed, and the time that 95 % of them stayed below."""
        while self._beats and self._beats[0].at_s <= now_s - self._window_s:
            self._beats.popleft()
        durations = sorted(beat.duration_s for beat in self._beats)
        p95_s = durations[len(durations) * 95 // 100] if durations else 0.0
        return Seen(len(durations), sum(beat.failed for beat in self._beats), round(p95_s * 1000, 1))

    def view(self, now_s: float) -> dict[str, float]:
        """Events and failed ones per second, and the time that 95 % of them stayed below."""
        seen = self.seen(now_s)
        return {
            "rate": round(seen.events / self._window_s, 1),
            "failing": round(seen.failed / self._window_s, 1),
            "p95_ms": seen.p95_ms,
        }


class _Edge:
    """One service asked by this one. A retry or breaker belongs to it that bears its name."""

    def __init__(self) -> None:
        self.calls = Beats()
        self.retries = Beats()
        self.breaker: str | None = None
        self._totals = {"asked": 0, "failed": 0, "refused": 0}
        self._of_replicas: dict[str, Counts] = {}

    def count(self, call: CallFinished, now_s: float) -> None:
        """One more call."""
        self.calls.add(now_s, failed=call.failed, duration_s=call.duration_s)
        self._totals["asked"] += 1
        self._totals["failed"] += call.failed
        before = self._of_replicas.pop(call.at, Counts(0))  # taken out and put in: the one asked last stands last
        slow = call.duration_s > _SLOW_S and not call.failed
        counted = Counts(before.requests + 1, before.failed + call.failed, before.slow + slow)
        self._of_replicas[call.at] = counted
        if len(self._of_replicas) > _REPLICAS_MAX:
            del self._of_replicas[next(iter(self._of_replicas))]

    def refuse(self) -> None:
        """One more call that the breaker held back."""
        self._totals["refused"] += 1

    def view(self, now_s: float) -> dict[str, Any]:
        calls = self.calls.view(now_s)
        return {
            "rate": calls["rate"],
            "failing": calls["failing"],
            "retries": self.retries.view(now_s)["rate"],
            "breaker": self.breaker,
            "replicas": self._of_replicas,
            "totals": self._totals,
        }


_BREAKER = {CircuitOpened: "open", CircuitHalfOpened: "half_open", CircuitClosed: "closed"}


class Pulse:
    """Hears the notices of one service, `name`, and of the parts it is protected by."""

    def __init__(self, name: str, parts: frozenset[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._parts = parts
        self._clock = clock
        self._served = Beats()
        self._edges: dict[str, _Edge] = {}

    @property
    def name(self) -> str:
        """The service that it hears."""
        return self._name

    def __call__(self, notice: Notice) -> None:
        """Take in one notice."""
        if notice.name == self._name:
            self._own(notice)
        elif notice.name in self._parts:
            self._part(notice)

    def _own(self, notice: Notice) -> None:
        if isinstance(notice, RequestFinished) and notice.route not in WATCHED:
            self._served.add(self._clock(), failed=notice.status >= 500, duration_s=notice.duration_s)
        elif isinstance(notice, CallFinished):
            self._edge(notice.to).count(notice, self._clock())

    def _part(self, notice: Notice) -> None:
        if isinstance(notice, RetryScheduled):
            self._edge(notice.name).retries.add(self._clock())
        elif isinstance(notice, CallRefused) and notice.enforced:
            self._edge(notice.name).refuse()
        elif type(notice) in _BREAKER:
            self._edge(notice.name).breaker = _BREAKER[type(notice)]

    def _edge(self, name: str) -> _Edge:
        return self._edges.setdefault(name, _Edge())

    def view(self) -> dict[str, Any]:
        """The service's rates, and those of its calls."""
        now_s = self._clock()
        calls = [{"to": name, **edge.view(now_s)} for name, edge in self._edges.items()]
        return {"service": self._name, **self._served.view(now_s), "calls": calls}
