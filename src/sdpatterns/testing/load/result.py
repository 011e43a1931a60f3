"""What came of a load, and whether that is good enough."""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections import Counter

from sdpatterns.core.ranges import number, seconds

__all__ = ["Criteria", "LoadResult"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Criteria:
    """What a load test has to keep; what is not given is not judged."""

    failed_max: float | None = None
    """The greatest share of requests that may fail, from 0 to 1."""
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None

    def __post_init__(self) -> None:
        if self.failed_max is not None:
            number("failed_max", self.failed_max, 0, 1)
        for field in ("p50_s", "p95_s", "p99_s"):
            if (value := getattr(self, field)) is not None:
                seconds(field, value)


class LoadResult:
    """The latency of each request, from the instant at which it was due until its end, and what failed.

    A request that waited because all places were taken has waited: its latency says so. Eight bytes a request.
    """

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.lag_max_s = 0.0
        """The longest time by which a request was started late. If it is not small, the load generator itself was too
        slow, or `in_flight_max` too low, and the latencies say more about them than about the service."""
        self.took_s = 0.0
        self._latencies = array("d")
        self._sorted = True

    def add(self, latency_s: float, error: BaseException | None = None) -> None:
        """Count one request."""
        self._latencies.append(latency_s)
        self._sorted = False
        if error is not None:
            self.errors[type(error).__name__] += 1

    @property
    def requests(self) -> int:
        """How many there were."""
        return len(self._latencies)

    @property
    def failed(self) -> int:
        """How many raised."""
        return self.errors.total()

    @property
    def per_s(self) -> float:
        """How many ended well per second."""
        return (self.requests - self.failed) / self.took_s if self.took_s else 0.0

    def latency_s(self, quantile: float) -> float:
        """The latency that this share of the requests did not exceed; 0 without requests."""
        number("quantile", quantile, 0, 1)
        if not self._sorted:
            self._latencies, self._sorted = array("d", sorted(self._latencies)), True
        rank = max(1, math.ceil(quantile * self.requests))
        return self._latencies[rank - 1] if self._latencies else 0.0

    def broken(self, criteria: Criteria) -> list[str]:
        """The criteria that do not hold, each as a sentence; none when all is well."""
        if not self.requests:
            return ["there were no requests"]
        found = []
        share = self.failed / self.requests
        if criteria.failed_max is not None and share > criteria.failed_max:
            most = ", ".join(f"{name} {count}" for name, count in self.errors.most_common(3))
            found.append(f"{share:.2%} of the requests failed, at most {criteria.failed_max:.2%} may ({most})")
        for name, quantile in (("p50_s", 0.5), ("p95_s", 0.95), ("p99_s", 0.99)):
            limit = getattr(criteria, name)
            if limit is not None and (had := self.latency_s(quantile)) > limit:
                found.append(f"{quantile:.0%} of the requests took up to {had:.3f} s, the limit is {limit:g} s")
        return found

    def __str__(self) -> str:
        quantiles = ", ".join(f"p{share * 100:g} {self.latency_s(share) * 1000:.0f} ms" for share in (0.5, 0.95, 0.99))
        return f"{self.requests} requests, {self.failed} failed, {self.per_s:.1f} per second, {quantiles}"
