"""Guards enter once and leave once.

```
async with guard.guard(key):      # raises a Rejected when refused
    ...
```
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sdpatterns.core.keys import KeyOf
from sdpatterns.core.outcome import Outcome
from sdpatterns.core.policy import AsyncCall, Keyed, Policy, check_keyed
from sdpatterns.core.tracing import TRACERS, Opened, Span, in_span, opened_by
from sdpatterns.core.undivided import Undivided

__all__ = ["Guard", "KeyedGuard", "Passage", "StatefulGuard"]


class Guard(Policy):
    """A policy that runs the call exactly once, or refuses it.

    A concrete guard gives `enter` and `leave`; the rest follows. It may override `wrap` with
    something faster that does the same.
    """

    @abstractmethod
    async def enter(self, key: str, /) -> Any:
        """A permit, or raise a `Rejected`."""

    @abstractmethod
    def leave(self, permit: Any, outcome: Outcome, error: BaseException | None, /) -> None:
        """Give the permit back and say how the call ended. Never suspends."""

    def guard(self, key: str = "", /) -> Passage:
        """`async with` one passage through the guard."""
        if not key:
            check_keyed(self, None)
        return Passage(self, key)

    def by(self, key: str | Callable[..., str], /) -> KeyedGuard:
        """The same guard bound to a key: a string, or a function of the call's arguments."""
        return KeyedGuard(self, key)

    def wrap(self, call: AsyncCall, key: KeyOf | None = None, /) -> AsyncCall:
        """The call inside one passage."""
        enter, leave = self.enter, self.leave

        async def guarded(*args: Any, _span: Span | None = None, **kwargs: Any) -> Any:
            """Enter, call, and leave with what became of the call."""
            if TRACERS and _span is None:
                return await in_span(self, guarded, args, kwargs)
            permit = await enter("" if key is None else key(*args, **kwargs))
            try:
                result = await call(*args, **kwargs)
            except Exception as error:
                leave(permit, Outcome.FAILURE, error)
                raise
            except BaseException as error:
                leave(permit, Outcome.CANCELLED, error)
                raise
            leave(permit, Outcome.SUCCESS, None)
            return result

        return guarded


class StatefulGuard(Undivided, Guard):
    """A guard whose counts live in this process or behind its store; see `Undivided`."""

    _elsewhere = "build it there, at import time; a limiter or quota shares its counts through store="


class Passage:
    """One `async with` through a guard. A class, because a generator-based one costs four times
    as much.
    """

    __slots__ = ("_guard", "_key", "_opened", "permit")

    def __init__(self, guard: Guard, key: str) -> None:
        self._guard = guard
        self._key = key
        self._opened: Opened | None = None
        self.permit: Any = None

    def __repr__(self) -> str:
        return f"<Passage through {self._guard!r}>"

    async def __aenter__(self) -> Any:
        if TRACERS:
            return await self._enter_in_span()
        self.permit = await self._guard.enter(self._key)
        return self.permit

    if not TYPE_CHECKING:  # so that type checkers still refuse a plain `with`

        def __enter__(self) -> Any:
            raise TypeError("a guard is entered by `async with`, or by `with` behind blocking(...)")

        def __exit__(self, *_: object) -> None:
            """Never reached; without it Python would speak of this method alone."""

    async def _enter_in_span(self) -> Any:
        self._opened = opened_by(self._guard, self._guard.name)
        try:
            self.permit = await self._guard.enter(self._key)
        except BaseException as error:
            self._opened.__exit__(None, error, None)
            raise
        return self.permit

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            outcome = Outcome.SUCCESS
        elif isinstance(error, Exception):
            outcome = Outcome.FAILURE
        else:
            outcome = Outcome.CANCELLED
        opened = self._opened
        if opened is None:
            self._guard.leave(self.permit, outcome, error)
            return
        try:
            self._guard.leave(self.permit, outcome, error)
        except BaseException as instead:
            error = instead
            raise
        finally:
            opened.__exit__(None, error, None)


class KeyedGuard(Keyed):
    """A guard with its key; one that is the same for every call also gives `guard()`.

    That is a string, or what `fixed` says where the function `key` gives the same to every call.
    """

    part: Guard

    def __init__(self, part: Guard, key: str | Callable[..., str], *, fixed: str | None = None) -> None:
        super().__init__(part, key)
        self._fixed = key if isinstance(key, str) else fixed

    def guard(self) -> Passage:
        """`async with` one passage, for a key that is the same for every call."""
        if self._fixed is None:
            raise TypeError(f"the key of {self.name!r} depends on a call: use protect or guard(key)")
        return Passage(self.part, self._fixed)
