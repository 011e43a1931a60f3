"""The `RateLimit` fields: what is left of a limit or a quota, made from its decision.

```
RateLimit-Policy: "api";q=100;w=60        the rule: 100 in 60 seconds
RateLimit: "api";r=57;t=26                where this client stands: 57 left, all back in 26 s
```

Of a quota they show every period of the client's plan, named after it:

```
RateLimit-Policy: "partners-day";q=1000;w=86400, "partners-month";q=10000;w=2592000
RateLimit: "partners-day";r=57;t=9606, "partners-month";r=8120;t=614406
```

Source: draft-ietf-httpapi-ratelimit-headers.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from sdpatterns.errors import RateLimited
from sdpatterns.web.problems import Problem, problem_of

__all__ = ["Decided", "RateLimitFields", "Shown", "ShownPeriod", "ShownRate", "refusal_of"]

Parameters: TypeAlias = dict[str, int | str | bytes]


class ShownRate(Protocol):
    """What the fields say of a rate."""

    @property
    def count(self) -> int:
        """Requests in a period."""
        ...

    @property
    def period_s(self) -> float:
        """The seconds of a period."""
        ...

    @property
    def limit(self) -> int:
        """How many pass at once."""
        ...


class Decided(Protocol):
    """What is read of a limiter's decision; `rate` is the one that binds."""

    @property
    def allowed(self) -> bool:
        """Whether the request may pass."""
        ...

    @property
    def remaining(self) -> int:
        """How many more would pass now."""
        ...

    @property
    def retry_after_s(self) -> float:
        """Seconds until the same request would pass."""
        ...

    @property
    def reset_after_s(self) -> float:
        """Seconds until nothing of the limit is used."""
        ...

    @property
    def rate(self) -> ShownRate:
        """The rate that binds."""
        ...


class ShownPeriod(ShownRate, Protocol):
    """What the fields say of one period of a quota."""

    @property
    def period(self) -> str:
        """What the period is called."""
        ...

    @property
    def remaining(self) -> int:
        """How many more would pass in it."""
        ...

    @property
    def reset_after_s(self) -> float:
        """Seconds until it ends."""
        ...


Shown: TypeAlias = ShownRate | Sequence[ShownRate] | Mapping[str, ShownRate | Sequence[ShownRate]]
"""The rates that a header shows: one, several, or such by the name of a scope."""


class _Policy(NamedTuple):
    name: str
    scope: str | None
    rate: ShownRate

    def binds(self, decision: Decided) -> bool:
        """Whether it is this one that the decision is about; equal rates differ by their scope."""
        return self.rate == decision.rate and self.scope in {None, getattr(decision, "scope", None)}


def _policies(name: str, rates: Shown) -> list[_Policy]:
    if isinstance(rates, Mapping):
        return [
            _Policy(each.name, scope, each.rate)
            for scope, inside in rates.items()
            for each in _policies(f"{name}-{scope}", inside)
        ]
    listed = list(rates) if isinstance(rates, Sequence) else [rates]
    if len(listed) == 1:
        return [_Policy(name, None, listed[0])]
    return [_Policy(f"{name}-{number}", None, rate) for number, rate in enumerate(listed, 1)]


class RateLimitFields:
    """The fields of one limiter's or quota's answers, for code that asks it without the middleware.

    `name` is what clients see it called. `rates` are the ones that RateLimit-Policy shows, in the form
    in which the limiter got them, so by scope where it has scopes; by default the one that binds. A
    rate's quota is what it lets pass at once, its window the time in which that much comes back.

    **Keeps**: a policy never promises more than its rate. **May fail** when it is built: `ValueError` for
    a name that no header can carry, ImportError without the extra `web`. **Costs** some microseconds an
    answer.

    ```python
    shown = RateLimitFields("api")
    headers = shown.of(await limiter.acquire("user:42"))    # {"RateLimit-Policy": ..., "RateLimit": ...}
    ```

    Source: draft-ietf-httpapi-ratelimit-headers.
    """

    __slots__ = ("_name", "_policies", "_written")

    def __init__(self, name: str, rates: Shown = ()) -> None:
        from sdpatterns.web import http_sf

        if not name.isascii():
            raise ValueError(f"name must be of ASCII characters to stand in a header, got {name!r}")
        self._name = name
        self._policies = _policies(name, rates)
        self._written = http_sf.string_list

    def of(self, decision: Decided, *, partition: bytes | None = None) -> dict[str, str]:
        """RateLimit-Policy and RateLimit. `partition`: the public name of the key, for the parameter `pk`."""
        part: Parameters = {} if partition is None else {"pk": partition}
        standings: Sequence[ShownPeriod] = getattr(decision, "standings", ())
        if standings and not self._policies:
            return self._of_periods(standings, part)
        shown = self._policies or [_Policy(self._name, None, decision.rate)]
        policy = [(each.name, {**_quota_of(each.rate), **part}) for each in shown]
        binding = (each.name for each in shown if each.binds(decision))
        return self._shown(policy, [(next(binding, self._name), {**_left(decision), **part})])

    def _of_periods(self, standings: Sequence[ShownPeriod], part: Parameters) -> dict[str, str]:
        named = [(f"{self._name}-{standing.period}", standing) for standing in standings]
        policy = [(name, {**_quota_of(standing), **part}) for name, standing in named]
        return self._shown(policy, [(name, {**_left(standing), **part}) for name, standing in named])

    def _shown(
        self, policy: Sequence[tuple[str, Parameters]], standing: Sequence[tuple[str, Parameters]]
    ) -> dict[str, str]:
        return {"RateLimit-Policy": self._written(policy), "RateLimit": self._written(standing)}


def _left(standing: Decided | ShownPeriod) -> Parameters:
    return {"r": standing.remaining, "t": math.ceil(standing.reset_after_s)}


def _quota_of(rate: ShownRate) -> Parameters:
    return _quota(rate.limit, rate.count, rate.period_s)


@functools.lru_cache(maxsize=1_000)
def _quota(limit: int, count: int, period_s: float) -> Parameters:
    window_s = math.ceil(limit * period_s / count)
    return {"q": max(limit, math.floor(count * window_s / period_s)), "w": window_s}


def refusal_of(name: str, decision: Decided) -> Problem:
    """The 429 that a client gets for a refused request: a problem that names the limit, with Retry-After."""
    refused = problem_of(RateLimited(name, retry_after_s=decision.retry_after_s))
    assert refused is not None
    return dataclasses.replace(refused, more={"violated-policies": [name]})
