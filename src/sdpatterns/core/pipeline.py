"""Several parts as one, read outside-in.

```
Pipeline(Retry(...), breaker, Timeout(2.0), name="quotes")
         outermost ----------> innermost, next to the call
```
"""

from __future__ import annotations

from sdpatterns.core.keys import KeyOf, check_name
from sdpatterns.core.policy import AsyncCall, Policy, check_keyed
from sdpatterns.core.runtime import Runtime

__all__ = ["Pipeline"]


class Pipeline(Policy):
    """Policies and guards around one call, the first outermost; itself a policy.

    Keeps: the order in which they were given, which `explain()` prints together with a warning for
    each order that defeats itself. A part without a name of its own takes the pipeline's.

    Raises `ValueError` for no parts and TypeError for one that is keyed and has no key yet.
    """

    def __init__(self, *parts: Policy, name: str) -> None:
        self.name = check_name("Pipeline", name)
        if not parts:
            raise ValueError("Pipeline needs at least one part")
        for part in parts:
            check_keyed(part, None)
        self.parts = tuple(part.named(name) for part in parts)

    @property
    def never_waits(self) -> bool:
        """Whether none of its parts can wait."""
        return all(part.never_waits for part in self.parts)

    @property
    def runtime(self) -> Runtime | None:
        """The runtime of its parts' stores. Raises TypeError when two of them differ."""
        found = {part.runtime.name: part.runtime for part in self.parts if part.runtime}
        if len(found) > 1:
            raise TypeError(f"{self.name!r} mixes stores of {' and '.join(sorted(found))}")
        return next(iter(found.values()), None)

    def needs_loop(self) -> str | None:
        """The reason of the first part that has one."""
        reasons = (part.needs_loop() for part in self.parts)
        return next((reason for reason in reasons if reason), None)

    def wrap(self, call: AsyncCall, key: KeyOf | None = None, /) -> AsyncCall:
        """The call inside all parts."""
        for part in reversed(self.parts):
            call = part.wrap(call)
        return call

    def describe(self) -> str:
        """Its parts in one line."""
        return " > ".join(part.describe() for part in self.parts)

    def explain(self) -> str:
        """The parts, outermost first, one a line, then a warning for each self-defeating order."""
        lines = [f"{self.name}:"]
        lines += [f"  {place}. {part.describe()}" for place, part in enumerate(self.parts, 1)]
        lines += [f"  warning: {text}" for text in self.warnings()]
        return "\n".join(lines)

    def warnings(self) -> list[str]:
        """What is doubtful about the order: each part is asked about those inside it."""
        found: list[str] = []
        for place, part in enumerate(self.parts):
            found += part.doubts(self.parts[:place], self.parts[place + 1 :])
        return found
