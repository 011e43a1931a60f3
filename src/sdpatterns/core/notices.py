"""Facts that patterns emit and listeners hear.

```
pattern --> tell(CircuitOpened(name="psp", ...)) --> logs, metrics, spans, tests
```

A notice is a frozen dataclass with a past participle for a name. Listeners read `name` and
`labels()`, never a pattern's class. With no listener an emitter pays one truth test:
`if LISTENERS: tell(...)`. A listener that raises is reported to the log and never harms the call.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CoroutineType
from typing import Any, TypeAlias

from sdpatterns.core.judging import answering

__all__ = ["LISTENERS", "Listener", "Notice", "listen", "tell"]

_log = logging.getLogger("sdpatterns")
_log.addHandler(logging.NullHandler())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """Something that a pattern reports to listeners. `name` is the name that you gave to the pattern."""

    name: str

    @property
    def event(self) -> str:
        """What happened, in snake case: `CircuitOpened` is `circuit_opened`."""
        return _snake_case(type(self).__name__)

    def labels(self) -> dict[str, str]:
        """The fields that take few values and may label a metric (never a key or an id)."""
        return {"name": self.name}

    def measures(self) -> dict[str, float]:
        """The durations that are worth a histogram, in seconds (`duration_s`)."""
        return {}


@functools.lru_cache(maxsize=1_000)
def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


Listener: TypeAlias = Callable[[Notice], None]

LISTENERS: list[Listener] = []
"""Who listens, in this process. Read it for its truth; change it through `listen`."""


def tell(notice: Notice) -> None:
    """Hand the notice to every listener, in the order in which they came."""
    for listener in tuple(LISTENERS):
        try:
            heard: Any = listener(notice)
            if heard is not None and isinstance(heard, CoroutineType):
                heard.close()
                _log.error("a listener gave a coroutine on %s, which is not awaited", type(notice).__name__)
        except Exception:  # noqa: BLE001 - whatever a listener raises, the call must not feel it
            _log.exception("a listener failed on %s", type(notice).__name__)


@contextmanager
def listen(listener: Listener) -> Iterator[Listener]:
    """Call `listener` with every notice until the block ends.

    A program that listens for its whole life enters it once, as in `ExitStack.enter_context`. Raises
    TypeError for an async one, which would never run.
    """
    answering("listener", listener)
    LISTENERS.append(listener)
    try:
        yield listener
    finally:
        LISTENERS.remove(listener)
