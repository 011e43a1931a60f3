"""What a saga's function works with: its steps, which are run once and then read from the journal.

The function is run from its beginning each time a worker takes the run over, and each time a wait is over. A step that
is done gives what it returned then, without being run. So between its steps a saga must do the same each time: no
clock, no random numbers, no reads (make them steps).
"""

from __future__ import annotations

import inspect
import random as random_numbers
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar, TypeVarTuple, cast, overload

from sdpatterns.core.error_codec import ErrorCodec
from sdpatterns.core.keys import join_key
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.ranges import seconds
from sdpatterns.core.runtime import current
from sdpatterns.core.tracing import TRACERS, Opened
from sdpatterns.errors import SagaCancelled
from sdpatterns.messaging.consumer import GiveUp, after_failure, awaited
from sdpatterns.messaging.saga.config import SagaConfig
from sdpatterns.messaging.saga.journal import (
    RunBroken,
    StepBegan,
    StepDone,
    StepFailed,
    StepKind,
    StepRecord,
    StepRetried,
    StepUndone,
    UndoRetried,
)
from sdpatterns.messaging.saga.notices import StepRepeated
from sdpatterns.messaging.saga.writer import EntryWriter

if TYPE_CHECKING:
    from sdpatterns.messaging.saga.sagas import Saga, Sagas

__all__ = ["SagaRun", "SagaStep", "Suspended", "current_step"]

P = ParamSpec("P")
R = TypeVar("R")
A1 = TypeVar("A1")
A2 = TypeVar("A2")
A3 = TypeVar("A3")
Ts = TypeVarTuple("Ts")


class SagaStep(NamedTuple):
    """The step that runs now. `idempotency_key` is the same in each attempt at it: send it with what it asks for."""

    run_id: str
    step: str
    attempt: int
    idempotency_key: str


_CURRENT: ContextVar[SagaStep | None] = ContextVar("sdpatterns_step", default=None)


def current_step() -> SagaStep:
    """The step in which the calling function runs. Raises `LookupError` outside a step."""
    call = _CURRENT.get()
    if call is None:
        raise LookupError("this code does not run in a step of a saga")
    return call


class Suspended(BaseException):
    """The run goes on later: at `due_us`, or when it is woken where that is None. Not for a saga to catch.

    `is_settled` is False where a step waits for its next attempt.
    """

    def __init__(self, due_us: int | None, *, is_settled: bool) -> None:
        super().__init__("a saga waits; let this exception pass")
        self.due_us = due_us
        self.is_settled = is_settled


class SagaRun:
    """One run of a saga, handed to its function: `id`, and the kinds of steps.

    **Keeps**: a step whose end is in the journal is not run again. One that was begun and has no end there is run
    again, with the same idempotency key, by the worker that goes on.
    **Costs** one append for each step.
    """

    def __init__(
        self, sagas: Sagas, run_id: str, config: SagaConfig, writer: EntryWriter, now_us: Callable[[], int]
    ) -> None:
        self.id = run_id
        self.undos: dict[str, Callable[[Any], Any]] = {}
        self.asked: dict[str, StepKind] = {}
        self._sagas = sagas
        self._config = config
        self._writer = writer
        self._journal = writer.journal
        self._now_us = now_us
        self._errors = ErrorCodec(config.give_up_on, "give_up_on")
        self._branches = 0

    async def step(
        self,
        name: str,
        function: Callable[[*Ts], Awaitable[R]],
        /,
        *args: *Ts,
        undo: Callable[[R], Any] | None = None,
    ) -> R:
        """Run `function(*args)` as the step `name`, once; gives what it returned.

        `undo` is called with that if the run fails later, the last step first. It is tried again like a step, with an
        idempotency key of its own, and then the run is parked. A plain function blocks the loop: keep it short.
        Raises what `function` raised where that is one of `give_up_on`.
        """
        return await self._step(name, "step", partial(function, *args), undo)

    async def pivot(self, name: str, function: Callable[[*Ts], Awaitable[R]], /, *args: *Ts) -> R:
        """The step from which on the run only goes forward: when it is done, nothing is undone any more.

        A failure after it parks the run. `cancel` is refused from its beginning on.
        """
        return await self._step(name, "pivot", partial(function, *args), None)

    async def sleep(self, name: str, delay_s: float) -> None:
        """Wait, also for days: no worker is held meanwhile."""
        seconds("delay_s", delay_s, zero=True)
        record = self._ask(name, "sleep")
        if record is None:
            self._check_cancelled()
            until_us = self._now_us() + round(delay_s * 1_000_000)
            await self._writer.write(StepBegan(name, "sleep", until_us))
            record = self._journal.steps[name]
        if self._now_us() < record.until_us:
            self._check_cancelled()
            raise Suspended(record.until_us, is_settled=True)

    async def signal(self, name: str, *, timeout_s: float | None = None) -> Any:
        """Wait for the value that `handle.signal(name, value)` sends. The first one counts, also one that came before.

        Raises TimeoutError where none has come in `timeout_s`.
        """
        if timeout_s is not None:
            seconds("timeout_s", timeout_s)
        record = self._ask(name, "signal")
        if record is None:
            self._check_cancelled()
            until_us = 0 if timeout_s is None else self._now_us() + round(timeout_s * 1_000_000)
            await self._writer.write(StepBegan(name, "signal", until_us))
            record = self._journal.steps[name]
        if record.is_done:
            raise TimeoutError(f"no signal {name!r} came in time")
        if name in self._journal.signals:
            return self._journal.signals[name]
        if record.until_us and self._now_us() >= record.until_us:
            # In the journal, because the signal may still come, and the saga must do the same then.
            await self._writer.write(StepDone(name, None))
            raise TimeoutError(f"no signal {name!r} came in time")
        self._check_cancelled()
        raise Suspended(record.until_us or None, is_settled=True)

    async def child(
        self, name: str, saga: Saga[P, R], /, *args: Any, undo: Callable[[R], Any] | None = None, **kwargs: Any
    ) -> R:
        """Run another saga of the same `Sagas` as a run of its own, and wait for its end.

        If this run fails meanwhile, the child is cancelled; `undo` is called with its result where it has completed.
        Raises `SagaUndone` where the child was undone.
        """
        return await self._sagas.run_child(self, name, saga, args, kwargs, undo)

    @overload
    async def parallel(self, first: Awaitable[A1], second: Awaitable[A2], /) -> tuple[A1, A2]: ...
    @overload
    async def parallel(
        self, first: Awaitable[A1], second: Awaitable[A2], third: Awaitable[A3], /
    ) -> tuple[A1, A2, A3]: ...
    @overload
    async def parallel(self, /, *branches: Awaitable[Any]) -> tuple[Any, ...]: ...
    async def parallel(self, /, *branches: Awaitable[Any]) -> tuple[Any, ...]:
        """Run branches side by side: `await run.parallel(run.step(...), run.step(...))`.

        Where one fails, the others go on until each of their steps has ended; then the failure is raised.
        """
        outcomes: list[BranchOutcome] = [BranchOutcome() for _ in branches]
        self._branches += 1
        try:
            async with current().group() as group:
                for branch, outcome in zip(branches, outcomes, strict=True):
                    group.start(partial(outcome.of, branch))
        finally:
            self._branches -= 1
            for branch in branches:
                # Cancelled before it had begun: nothing else would end it.
                if inspect.iscoroutine(branch):
                    branch.close()
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        if errors:
            raise _first_of(errors)
        return tuple(outcome.value for outcome in outcomes)

    async def _step(
        self, name: str, kind: StepKind, function: Callable[[], Awaitable[R]], undo: Callable[[R], Any] | None
    ) -> R:
        record = self._ask(name, kind)
        if record is not None and record.error is not None:
            raise self._errors.decode(record.error)
        if undo is not None:
            self.undos[name] = undo
        if record is not None and record.is_done:
            return cast("R", record.value)
        if record is None:
            self._check_cancelled()
            await self._writer.write(StepBegan(name, kind))
            record = self._journal.steps[name]
        elif self._now_us() < record.due_us:
            raise Suspended(record.due_us, is_settled=False)
        if kind == "pivot":
            # A cancellation that came between the look and its entry was accepted.
            self._check_cancelled()
        return await self.attempt(name, record, function)

    async def attempt(self, name: str, record: StepRecord, function: Callable[[], Awaitable[R]]) -> R:
        """Run a step, and note how it ended. Never called by a saga."""
        try:
            with self._running(name, record.attempts + 1, name):
                result = await awaited(function())
        except Exception as error:
            await self._failed(name, record, error)
            raise
        self._note_done(name, result)
        return cast("R", result)

    def _note_done(self, name: str, result: Any) -> None:
        try:
            self._writer.note(StepDone(name, result))
        except Exception as error:
            raise RunBroken(f"step {name!r} is done, and its result cannot be stored: {error}") from error

    async def _failed(self, name: str, record: StepRecord, error: Exception) -> None:
        """Returns where `error` is the answer of the step; raises otherwise."""
        if self._errors.knows(error):
            try:
                self._writer.note(StepFailed(name, self._errors.encode(error)))
            except Exception as failure:
                raise RunBroken(f"the failure of step {name!r} cannot be stored: {failure}") from failure
            return
        due_us = await self._again(name, record.attempts + 1, error, StepRetried)
        raise Suspended(due_us, is_settled=False) from error

    async def _again(self, name: str, attempt: int, error: Exception, entry: type[StepRetried | UndoRetried]) -> int:
        """When to try once more."""
        after = after_failure(self._config, attempt, error, random_numbers.random())
        if isinstance(after, GiveUp):
            raise RunBroken(f"step {name!r}: {after.reason}") from error
        due_us = self._now_us() + round(after.delay_s * 1_000_000)
        if after.counts:
            await self._writer.write(entry(name, attempt, f"{type(error).__qualname__}: {error}"[:1000], due_us))
        if LISTENERS:
            told = type(error).__qualname__
            tell(StepRepeated(name=self._sagas.name, step=name, id=self.id, delay_s=after.delay_s, error=told))
        return due_us

    async def undo(self, name: str) -> None:
        """Undo one step that is done. Called by the worker, never by a saga."""
        await self._writer.write()
        record = self._journal.steps[name]
        if self._now_us() < record.due_us:
            raise Suspended(record.due_us, is_settled=False)
        try:
            with self._running(name, record.undo_attempts + 1, name, "undo"):
                await awaited(self.undos[name](record.value))
        except Exception as error:
            due_us = await self._again(name, record.undo_attempts + 1, error, UndoRetried)
            raise Suspended(due_us, is_settled=False) from error
        self._writer.note(StepUndone(name))

    @contextmanager
    def _running(self, name: str, attempt: int, *parts: str) -> Iterator[None]:
        call = SagaStep(self.id, name, attempt, join_key(self._sagas.name, self.id, *parts))
        before = _CURRENT.get()
        _CURRENT.set(call)
        try:
            if not TRACERS:
                yield
                return
            with Opened(f"step {'/'.join(parts)}", "internal", {"sdpatterns.attempt": attempt}):
                yield
        finally:
            _CURRENT.set(before)

    def _ask(self, name: str, kind: StepKind) -> StepRecord | None:
        """What the journal says of the step that the saga asks for. Raises `RunBroken` where the two do not fit."""
        if name in self.asked:
            raise RunBroken(f"two steps are called {name!r}: give each its own name")
        record = self._journal.steps.get(name)
        if record is None:
            if self._journal.failed is not None:
                # It did not get as far before it failed, as after a cancellation.
                raise Suspended(None, is_settled=True)
            if not self._branches:
                self.check_all_asked(f"asks for {kind} {name!r}")
        elif record.kind != kind:
            raise RunBroken(f"{name!r} is a {record.kind} in the journal, and a {kind} in the code")
        self.asked[name] = kind
        return record

    def check_all_asked(self, instead: str) -> None:
        """Raise `RunBroken` where the journal has a step that the code has not asked for."""
        left = [name for name in self._journal.steps if name not in self.asked]
        if left:
            raise RunBroken(f"the code has changed: the journal goes on with {left[0]!r}, and the code {instead}")

    def _check_cancelled(self) -> None:
        if self._journal.cancelled is not None and not self._journal.is_pivoted:
            raise SagaCancelled(self._sagas.name, self.id, self._journal.cancelled)


class BranchOutcome:
    """How one branch ended."""

    __slots__ = ("error", "value")

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None

    async def of(self, branch: Awaitable[Any]) -> None:
        """Await the branch, and keep what it gave or raised."""
        try:
            self.value = await branch
        except (Exception, Suspended, RunBroken) as error:  # noqa: BLE001 - raised again when all branches have ended
            self.error = error


def _first_of(errors: list[BaseException]) -> BaseException:
    """What counts: a person is needed, a step has no answer yet, a branch failed, a branch waits (the earliest)."""
    for error in errors:
        if isinstance(error, RunBroken):
            return error
    waiting = [error for error in errors if isinstance(error, Suspended)]
    unsettled = [error for error in waiting if not error.is_settled]
    failures = [error for error in errors if not isinstance(error, Suspended)]
    if failures and not unsettled:
        return failures[0]
    dues = [error.due_us for error in (unsettled or waiting) if error.due_us is not None]
    return Suspended(min(dues, default=None), is_settled=not unsettled)
