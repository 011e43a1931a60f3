"""The call, and the call again."""

from __future__ import annotations

import copy
import random as random_numbers
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from sdpatterns.algorithms.backoff import Backoff
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import carried_deadline, deadline_at, deadline_left_s
from sdpatterns.core.judging import NotAwaited, answering, plain
from sdpatterns.core.keys import KeyOf, check_name
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.policy import AsyncCall, Policy
from sdpatterns.core.runtime import current, meant
from sdpatterns.core.tracing import TRACERS, AttemptSpans, Opened, Span, in_span
from sdpatterns.errors import DeadlineExceeded
from sdpatterns.resilience.matching import Errors, catches, matcher
from sdpatterns.resilience.retry.config import Hint, RetryConfig, hint_of, hinted_s
from sdpatterns.resilience.retry.decision import Course
from sdpatterns.resilience.retry.notices import RetriesExhausted, RetryScheduled

__all__ = ["Attempt", "Attempts", "Retry"]


class Retry(Policy):
    """Repeats a call that fails with one of the named exceptions, up to `attempts_max` times.

    ```python
    import asyncio
    from sdpatterns import Retry

    answers = iter([ConnectionError("reset"), 101.5])

    @Retry(on=ConnectionError, attempts_max=3, base_s=0.01)
    async def fetch_quote(symbol: str) -> float:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert asyncio.run(fetch_quote("ACME")) == 101.5
    ```

    `on` names exception types or is a predicate on the exception; `on_result` is a predicate on a
    result that is no good. The waits follow `backoff` between `base_s` and `max_s` (see
    `sdpatterns.algorithms.backoff`), or what the failure itself asks for: its `retry_after_s`, or
    what `retry_after` reads from it, up to `retry_after_max_s`. `idempotent=True` states that a
    repeat is harmless, which `Pipeline.explain` asks for.

    **Keeps**: at most `attempts_max` attempts. It never waits past the caller's deadline or its own
    `timeout_s`: where the next wait would, the last failure is raised at once. Cancellation, and
    anything else that is no `Exception`, is never caught. The caller gets the exception object that the
    last attempt raised, bare; after results that are no good, the last result. `on` and `retry_after` never
    hide a failure: if one of them raises, that is logged, and the failure counts as not meant, or as
    without a hint; a `backoff` that raises is a wait of `max_s`.

    **May fail** with the exception that the call or `on_result` raises; TypeError for a function among its settings
    that is async, when it is built or first asked. Cancelled while it waits, it makes no further attempt.

    **Costs** under 0.2 µs when the first attempt succeeds. No state between calls.
    """

    traits = frozenset({"repeats"})

    def __init__(
        self,
        *,
        on: Errors = (),
        attempts_max: int = 3,
        backoff: Backoff | Callable[[int], float] = "full_jitter",
        base_s: float = 0.1,
        max_s: float = 10.0,
        on_result: Callable[[Any], bool] | None = None,
        retry_after: Hint = hinted_s,
        retry_after_max_s: float = 60.0,
        timeout_s: float | None = None,
        idempotent: bool = False,
        name: str | None = None,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        if on == () and on_result is None:
            raise ValueError("on (or on_result) must say what to repeat, such as on=ConnectionError; got neither")
        self._config = RetryConfig(
            attempts_max=attempts_max,
            backoff=backoff,
            base_s=base_s,
            max_s=max_s,
            retry_after=retry_after,
            retry_after_max_s=retry_after_max_s,
            timeout_s=timeout_s,
        )
        self.name = "retry" if name is None else check_name("Retry", name)
        self.idempotent = idempotent
        self._is_named = name is not None
        self._on = on
        self._matches = matcher("on", on, otherwise=False)
        self._hint_s = hint_of(retry_after)
        self._on_result = None if on_result is None else answering("on_result", on_result)
        self._random = plain("random", random)

    def named(self, name: str, /) -> Retry:
        if self._is_named:
            return self
        twin = copy.copy(self)
        twin.name = check_name("Retry", name)
        twin._is_named = True  # noqa: SLF001 - one of our own
        return twin

    def describe(self) -> str:
        """What is repeated, how often, how slowly."""
        config = self._config
        way = config.backoff if isinstance(config.backoff, str) else "own backoff"
        bound = "" if config.timeout_s is None else f", {config.timeout_s:g} s in all"
        return f"Retry: {config.attempts_max} attempts, {way} {config.base_s:g}-{config.max_s:g} s{bound}"

    def wrap(self, call: AsyncCall, key: KeyOf | None = None, /) -> AsyncCall:
        """The call, repeated where that is due."""
        again, unwanted, timeout_s = self._again, self._on_result, self._config.timeout_s

        async def retried(*args: Any, _span: Span | None = None, **kwargs: Any) -> Any:
            """The first attempt; the others begin only where it fails."""
            if TRACERS and _span is None:
                return await in_span(self, retried, args, kwargs)
            result = failure = None
            attempt = call if _span is None else AttemptSpans(self.name, call)
            try:
                result = await attempt(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - raised again, bare, unless another attempt follows
                failure = error
            else:
                if unwanted is None or not unwanted(result):
                    return result
            # Out of the handler, so that no attempt becomes the context of a later one's exception.
            try:
                return await again(attempt, args, kwargs, failure, result)
            finally:
                # An exception refers to this frame by its traceback. If the frame kept the exception, only the
                # garbage collector could free the two, and all that the call had in hand.
                del failure

        if timeout_s is None:
            return retried

        async def bounded(*args: Any, **kwargs: Any) -> Any:
            before, until = deadline_at.get(), SYSTEM.monotonic() + timeout_s
            carried = carried_deadline()
            # Only ever earlier: the caller's deadline holds inside too.
            if carried is None or until < carried:
                deadline_at.set(until)
            try:
                return await retried(*args, **kwargs)
            finally:
                deadline_at.set(before)

        return bounded

    async def _again(
        self,
        call: AsyncCall,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        failure: Exception | None,
        result: Any,
    ) -> Any:
        course, unwanted = Course(self._config), self._on_result
        try:
            while True:
                delay_s = self.delay_after(course, failure)
                if delay_s is None:
                    break
                await current().sleep(delay_s)
                # Dropped before the attempt, so that a long attempt does not keep what the last one had in hand.
                failure = None
                try:
                    result = await call(*args, **kwargs)
                except Exception as error:  # noqa: BLE001 - the same
                    failure = error
                else:
                    if unwanted is None or not unwanted(result):
                        break
            # The object that the attempt raised, not a new one with a cause, because your handlers look at its type.
            if failure is not None:
                raise failure
            return result
        finally:
            del failure  # as in `wrap`

    def delay_after(self, course: Course, failure: Exception | None) -> float | None:
        """Seconds to wait after this failure (None: an unwanted result), or None to give up."""
        if failure is not None and not self._matches(failure):
            return None
        hint_s = None if failure is None else self._hint_s(failure)
        try:
            # The random number is handed in, so that the decision gives the same delay for the same numbers.
            delay_s, reason = course.next_delay_s(hint_s, deadline_left_s(), self._random())
        except NotAwaited as mistake:
            raise mistake from failure
        if LISTENERS:
            self._tell(course, failure, delay_s, reason)
        return None if reason else delay_s

    def _tell(self, course: Course, failure: Exception | None, delay_s: float, reason: str) -> None:
        error = "" if failure is None else type(meant(failure)).__name__
        if reason:
            tell(RetriesExhausted(name=self.name, attempts=course.attempts, reason=reason, error=error))
        else:
            attempt = course.attempts - 1
            tell(RetryScheduled(name=self.name, attempt=attempt, delay_s=delay_s, error=error))

    def __aiter__(self) -> Attempts:
        """`async for attempt in retry: with attempt: ...`, where a decorator does not fit."""
        if self._config.timeout_s is None:
            return Attempts(self, Course(self._config), None)
        return Attempts(self, Course(self._config), SYSTEM.monotonic() + self._config.timeout_s)

    def doubts(self, outside: Sequence[Policy], inside: Sequence[Policy], /) -> Sequence[str]:
        """What makes repeating harmful or useless here."""
        found = []
        if not self.idempotent and not any("absorbs_repeats" in part.traits for part in inside):
            found.append(
                "Retry repeats a call that is not marked as idempotent: say idempotent=True where a"
                " repeat is harmless, or put Idempotency inside"
            )
        if any("limits_time" in part.traits for part in inside) and not catches(self._on, DeadlineExceeded):
            found.append("Retry stands outside Timeout, but does not repeat on DeadlineExceeded")
        if any("repeats" in part.traits for part in inside):
            found.append("Retry stands outside another part that repeats: their attempts multiply")
        return found


class Attempts:
    """The attempts at one block of code."""

    __slots__ = ("_attempt", "_course", "_retry", "_spans", "_until")

    def __init__(self, retry: Retry, course: Course, until: float | None) -> None:
        self._retry = retry
        self._course = course
        self._until = until
        self._attempt: Attempt | None = None
        self._spans = AttemptSpans(retry.name, None) if TRACERS else None

    def __aiter__(self) -> Attempts:
        return self

    async def __anext__(self) -> Attempt:
        last = self._attempt
        if last is not None:
            if last.delay_s is None:
                raise StopAsyncIteration
            await current().sleep(last.delay_s)
        self._attempt = Attempt(self._retry, self._course, self._until, self._spans)
        return self._attempt


class Attempt:
    """One attempt: a `with` block that swallows the exception when another attempt follows.

    `number` counts from 1. A block that ends without an exception ends the attempts.
    """

    __slots__ = ("_before", "_course", "_opened", "_retry", "_spans", "_until", "delay_s", "number")

    def __init__(self, retry: Retry, course: Course, until: float | None, spans: AttemptSpans | None = None) -> None:
        self._retry = retry
        self._course = course
        self._until = until
        self._before: float | None = None
        self._spans = spans
        self._opened: Opened | None = None
        self.number = course.attempts
        self.delay_s: float | None = None

    def __repr__(self) -> str:
        return f"<Attempt {self.number} of {self._retry!r}>"

    def __enter__(self) -> Self:
        self._before, carried = deadline_at.get(), carried_deadline()
        if self._until is not None and (carried is None or self._until < carried):
            deadline_at.set(self._until)
        if self._spans is not None and TRACERS:
            self._opened = self._spans.next()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        try:
            if isinstance(error, Exception):
                self.delay_s = self._retry.delay_after(self._course, error)
        finally:
            # Also where a function of the user's raised, such as the backoff.
            deadline_at.set(self._before)
            if self._opened is not None:
                self._opened.__exit__(kind, error, trace)
        return self.delay_s is not None
