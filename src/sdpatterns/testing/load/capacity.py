"""How throughput grows with replicas, and how many requests are under way at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["ScalabilityLaw", "in_flight"]


def in_flight(per_s: float, latency_s: float) -> float:
    """How many requests are under way on average: rate times latency (Little's law).

    The size that a connection pool or a bulkhead needs at least. Source: Little, "A Proof for the Queuing Formula
    L = λW" (1961).
    """
    if not (per_s >= 0 and latency_s >= 0):
        raise ValueError(f"per_s and latency_s must be 0 or more, got {per_s!r} and {latency_s!r}")
    return per_s * latency_s


class ScalabilityLaw(NamedTuple):
    """How much N replicas do: `one * N / (1 + contention * (N - 1) + crosstalk * N * (N - 1))`.

    `one` is what one replica does. `contention` is the share of the work that only one can do at a time, so that
    throughput levels off. `crosstalk` is what each replica pays for each other one, so that throughput falls beyond
    `peak`.

    ```python
    from sdpatterns.testing.load import ScalabilityLaw

    law = ScalabilityLaw.fit([(1, 100.0), (2, 180.0), (4, 290.0)])
    assert round(law.throughput(2)) == 180
    ```

    Source: Gunther, "A Simple Capacity Model of Massively Parallel Transaction Systems" (1993).
    """

    one: float
    contention: float
    crosstalk: float

    @classmethod
    def fit(cls, points: Sequence[tuple[float, float]]) -> ScalabilityLaw:
        """The law that lies closest to the measured `(replicas, throughput)`, at three different numbers at least.

        Least squares on N / throughput, which is linear in the three unknowns. A contention or crosstalk below zero has
        no meaning; it is taken as zero and the rest fitted again.
        """
        if len({replicas for replicas, _ in points}) < 3:
            raise ValueError(
                "needs the throughput at three different numbers of replicas, because it has three unknowns"
            )
        if any(not (replicas >= 1 and throughput > 0) for replicas, throughput in points):
            raise ValueError("needs one replica or more and a throughput above 0 at each point")
        for terms in ((0, 1, 2), (0, 1), (0, 2), (0,)):
            found = _least_squares(points, terms)
            if all(value >= 0 for value in found):
                break
        return cls(1 / found[0], found[1] / found[0], found[2] / found[0])

    def throughput(self, replicas: float) -> float:
        """What so many replicas do together."""
        others = replicas - 1
        return self.one * replicas / (1 + self.contention * others + self.crosstalk * replicas * others)

    @property
    def peak(self) -> float:
        """The number of replicas that do the most; infinite where each one more adds something."""
        if self.crosstalk == 0:
            return math.inf
        return math.sqrt(max(0.0, 1 - self.contention) / self.crosstalk)


def _least_squares(points: Sequence[tuple[float, float]], terms: Sequence[int]) -> list[float]:
    """The factors of 1, N - 1 and N (N - 1) that fit N / throughput best; 0 for those that are not in `terms`."""
    rows = [[(1.0, n - 1, n * (n - 1))[term] for term in terms] for n, _ in points]
    wanted = [n / throughput for n, throughput in points]
    matrix = [[sum(row[i] * row[j] for row in rows) for j in range(len(terms))] for i in range(len(terms))]
    right = [sum(row[i] * value for row, value in zip(rows, wanted, strict=True)) for i in range(len(terms))]
    found = [0.0, 0.0, 0.0]
    for term, value in zip(terms, _solved(matrix, right), strict=True):
        found[term] = value
    return found


def _solved(matrix: list[list[float]], right: list[float]) -> list[float]:
    """The solution of at most three linear equations, by elimination with the largest pivot."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for column in range(len(rows)):
        pivot = max(range(column, len(rows)), key=lambda number: abs(rows[number][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for number, row in enumerate(rows):
            if number != column:
                factor = row[column] / rows[column][column]
                rows[number] = [mine - factor * theirs for mine, theirs in zip(row, rows[column], strict=True)]
    return [row[-1] / row[number] for number, row in enumerate(rows)]
