"""What a limiter asks of an algorithm: how to count, as pure functions of a few whole numbers."""

from __future__ import annotations

from typing import Protocol, TypeAlias, runtime_checkable

from sdpatterns.core.policy import title_of
from sdpatterns.core.script import chunk
from sdpatterns.traffic.ratelimit.config import Rate

__all__ = ["AHEAD_ANY", "Algorithm", "BuiltIn", "Numbers", "check_algorithm", "count_of"]

Numbers: TypeAlias = tuple[int, ...]
"""Whole numbers below 2**53, with which Python and Lua compute the same."""

AHEAD_ANY = 2**53
"""No bound on how far ahead of now a request may start."""


@runtime_checkable
class Algorithm(Protocol):
    """A way to count: what one more request does to the numbers that are kept for a rate.

    Any object with these members is an algorithm; a class derived from this one inherits those with a default.
    All of it is pure, and the time is handed in (whole microseconds since 1970), because a store may run
    a step again, or in another process, or in the server (`lua`).

    **Keeps** (`sdpatterns.testing.contracts.AlgorithmContract` checks it): a start is never before an
    earlier one; as many as `remaining` says may start now, and no more; from `idle_at_us` on the numbers
    decide as `initial` does.
    """

    name: str
    """Names the cells, because the numbers of another algorithm mean something else."""
    initial: Numbers
    """The numbers of a rate of which nothing is used."""
    may_start_late: bool = False
    """Whether the promise also holds for a request that starts later than `advance` said. If so, `wait`
    reserves on several rates at once, because the request starts at the latest of them."""
    lua: str | None = None
    """A chunk of Lua that defines the locals `initial`, `advance` and `idle_at`, for one trip to Redis, not two."""

    def params(self, rate: Rate) -> Numbers:
        """The rate as numbers, worked out once. Raises `ValueError` for a rate that it cannot keep."""
        ...

    def advance(self, state: Numbers, now_us: int, cost: int, params: Numbers) -> tuple[Numbers, int]:
        """The numbers after one more request, and when that request may start: `now_us` for at once."""
        ...

    def idle_at_us(self, state: Numbers, params: Numbers) -> int:
        """From when on these numbers decide as `initial` does, so that a store may drop them."""
        ...

    def remaining(self, state: Numbers, now_us: int, params: Numbers) -> int:
        """How many requests of cost 1 may start now."""
        ...

    def limit(self, rate: Rate) -> int:
        """How many requests of cost 1 may start at once when nothing is used."""
        return rate.limit

    def ahead_max_us(self, rate: Rate) -> int:
        """How far ahead of now `wait` may reserve a start."""
        return AHEAD_ANY


class BuiltIn(Algorithm):
    """An algorithm of this package. Its chunk of Lua is the file beside it."""

    # Given for each class below; only a Protocol may leave them out.
    name = ""
    initial: Numbers = ()

    def __init_subclass__(cls, name: str = "", initial: Numbers = ()) -> None:
        """`name` is also that of the file; a class that you derive from one of them keeps what it inherits."""
        if name:
            cls.name = name
            cls.initial = initial
            cls.lua = chunk(cls.__module__, f"{name}.lua")

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def check_algorithm(algorithm: object) -> None:
    """Raise TypeError for what is no algorithm, such as the class of one."""
    if isinstance(algorithm, type) or not isinstance(algorithm, Algorithm):
        missing = [] if isinstance(algorithm, type) else _missing(algorithm)
        why = f" without {', '.join(missing)}" if missing else ""
        raise TypeError(f"algorithm must be an Algorithm, such as GCRA(); got {title_of(algorithm)}{why}")


def count_of(rate: Rate, algorithm: str) -> int:
    """How many pass in a window. Raises `ValueError` for a burst, which means nothing to a window."""
    if rate.burst not in {None, rate.count}:
        raise ValueError(
            f"burst must be left out for a {algorithm}, which lets count pass in a window, got {rate.burst}"
        )
    return rate.count


def _missing(algorithm: object) -> list[str]:
    members = {**Algorithm.__annotations__, **vars(Algorithm)}
    return [name for name in members if not name.startswith("_") and not hasattr(algorithm, name)]
