"""The last minutes at the gateway: p95 and failures over time, and the last minute by kind of request."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

STEP_S = 2
POINTS = 90
LANE_S = 60
_DURATIONS_MAX = 500  # of one step: beyond that p95 is that of the first ones
_MARKS_MAX = 12


@dataclass(slots=True)
class _Step:
    """The answers of `STEP_S` seconds."""

    number: int
    durations_ms: list[float] = field(default_factory=list)
    answered: int = 0
    failed: int = 0

    def view(self) -> dict[str, Any]:
        durations = sorted(self.durations_ms)
        p95 = round(durations[len(durations) * 95 // 100], 1) if durations else None
        return {"p95_ms": p95, "failed": self.failed, "answered": self.answered}


class History:
    """Answers summed up by time. Holds a bounded number of steps, however many answers come."""

    def __init__(self) -> None:
        self._steps: deque[_Step] = deque(maxlen=POINTS + 1)
        self._seconds: deque[tuple[int, Counter[tuple[str, str]]]] = deque(maxlen=LANE_S + 1)
        self._marks: deque[tuple[int, str]] = deque(maxlen=_MARKS_MAX)

    def take(self, kind: str, status: int, arrived_us: int, answered_us: int) -> None:
        """Count one answer. Answers of several gateways may come a little out of order."""
        step = self._step(answered_us // (STEP_S * 1_000_000))
        step.answered += 1
        step.failed += status >= 500
        if len(step.durations_ms) < _DURATIONS_MAX:
            step.durations_ms.append((answered_us - arrived_us) / 1000)
        self._second(answered_us // 1_000_000)[kind, outcome_of(status)] += 1

    def _step(self, number: int) -> _Step:
        if not self._steps or self._steps[-1].number < number:
            self._steps.append(_Step(number))
        return next((step for step in reversed(self._steps) if step.number <= number), self._steps[0])

    def _second(self, number: int) -> Counter[tuple[str, str]]:
        if not self._seconds or self._seconds[-1][0] < number:
            self._seconds.append((number, Counter()))
        return next((counts for at, counts in reversed(self._seconds) if at <= number), self._seconds[0][1])

    def mark(self, now_us: int, text: str) -> None:
        """Note something that was done to the shop, to be shown beside the figures."""
        self._marks.append((now_us, text))

    def view(self, now_us: int) -> dict[str, Any]:
        """The points of the last minutes, the oldest first: p95 is None where nothing was answered."""
        last = now_us // (STEP_S * 1_000_000)
        known = {step.number: step.view() for step in self._steps}
        quiet = {"p95_ms": None, "failed": 0, "answered": 0}
        points = [known.get(number, quiet) for number in range(last - POINTS + 1, last + 1)]
        marks = [(round((now_us - at_us) / 1e6, 1), text) for at_us, text in self._marks]
        shown = [{"ago_s": ago_s, "text": text} for ago_s, text in marks if ago_s < STEP_S * POINTS]
        return {"step_s": STEP_S, "points": points, "marks": shown}

    def lanes(self, now_us: int) -> dict[str, dict[str, int]]:
        """How many answers of each kind and outcome the last minute had."""
        since = now_us // 1_000_000 - LANE_S
        found: dict[str, dict[str, int]] = {}
        for at, counts in self._seconds:
            if at > since:
                for (kind, outcome), number in counts.items():
                    lane = found.setdefault(kind, {"ok": 0, "refused": 0, "failed": 0})
                    lane[outcome] += number
        return found


def outcome_of(status: int) -> str:
    """What became of a request: answered, refused (4xx) or failed (5xx)."""
    return "failed" if status >= 500 else "refused" if status >= 400 else "ok"
