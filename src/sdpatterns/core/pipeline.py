"""Several parts as one, read outside-in.

```
Pipeline(Retry(...), breaker, Timeout(2.0), name="quotes")
         outermost ----------> innermost, next to the call
```
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sdpatterns.core.keys import KeyOf, check_name
from sdpatterns.core.policy import AsyncCall, Keyed, Policy, check_keyed, title_of
from sdpatterns.core.runtime import Runtime

__all__ = ["Pipeline"]


class Pipeline(Policy):
    """Combines several policies and guards around one call, the first outermost; itself a policy.

    ```python
    import asyncio
    from sdpatterns import CircuitBreaker, DeadlineExceeded, Pipeline, Retry, Timeout

    breaker = CircuitBreaker("quotes", failure_rate=0.5)
    quotes = Pipeline(
        Retry(on=(ConnectionError, DeadlineExceeded), idempotent=True), breaker, Timeout(2.0), name="quotes"
    )

    @quotes.protect
    async def fetch_quote(symbol: str) -> float:
        return 101.5

    assert asyncio.run(fetch_quote("ACME")) == 101.5
    assert quotes.warnings() == []
    ```

    **Keeps**: the order in which they were given, which `explain()` prints together with a warning
    for each order that defeats itself. A part without a name of its own takes the pipeline's.

    **May fail** with what its parts and the call raise, bare. When it is built: `ValueError` for no
    parts, TypeError for one that is keyed and has no key yet, and for one that is no policy.

    **Costs** what its parts cost, and nothing of its own: it composes them once, when it protects.
    """

    def __init__(self, *parts: Policy, name: str) -> None:
        self.name = check_name("Pipeline", name)
        if not parts:
            raise ValueError("Pipeline needs at least one part")
        for place, part in enumerate(parts, 1):
            if not isinstance(part, Policy):
                raise TypeError(
                    f"Pipeline takes policies, one by one, such as Retry(...): part {place} is {title_of(part)}"
                )
            check_keyed(part, None)
        self._given = parts
        self.parts = tuple(part.named(name) for part in parts)

    @property
    def never_waits(self) -> bool:
        return all(part.never_waits for part in self.parts)

    @property
    def runtime(self) -> Runtime | None:
        found = {part.runtime.name: part.runtime for part in self.parts if part.runtime}
        if len(found) > 1:
            raise TypeError(f"{self.name!r} mixes stores of {' and '.join(sorted(found))}")
        return next(iter(found.values()), None)

    def needs_loop(self) -> str | None:
        reasons = (part.needs_loop() for part in self.parts)
        return next((reason for reason in reasons if reason), None)

    def wrap(self, call: AsyncCall, key: KeyOf | None = None, /) -> AsyncCall:
        for part in reversed(self.parts):
            call = part.wrap(call)
        return call

    def describe(self) -> str:
        return " > ".join(part.describe() for part in self.parts)

    def _shown(self) -> str:
        return f"Pipeline {self.name!r}: {' > '.join(map(repr, self.parts))}"

    def explain(self) -> str:
        """The parts, outermost first, one a line, then a warning for each self-defeating order."""
        lines = [f"{self.name}:"]
        lines += [f"  {place}. {part.describe()}" for place, part in enumerate(self.parts, 1)]
        lines += [f"  warning: {text}" for text in self.warnings()]
        return "\n".join(lines)

    def warnings(self) -> list[str]:
        """What is doubtful about the order: each part is asked about those around it."""
        parts = list(_one_by_one(self.parts))
        found = list(_twice(_one_by_one(self._given)))
        for place, part in enumerate(parts):
            found += part.doubts(parts[:place], parts[place + 1 :])
        return found


def _one_by_one(parts: Iterable[Policy]) -> Iterator[Policy]:
    for part in parts:
        if isinstance(part, Pipeline):
            yield from _one_by_one(part.parts)
        else:
            yield part.part if isinstance(part, Keyed) else part


def _twice(parts: Iterable[Policy]) -> Iterator[str]:
    seen: dict[int, int] = {}
    for part in parts:
        seen[id(part)] = seen.get(id(part), 0) + 1
        if seen[id(part)] == 2:
            yield f"{type(part).__name__} {part.name!r} is given more than once, and each call passes it as often"
