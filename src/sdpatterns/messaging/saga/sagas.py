"""Declare sagas, and start runs of them."""

from __future__ import annotations

import copy
import functools
import inspect
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from sdpatterns.algorithms.backoff import Backoff
from sdpatterns.core.arguments import Parameters
from sdpatterns.core.carried import carried
from sdpatterns.core.error_codec import ErrorCodec
from sdpatterns.core.judging import is_async, plain, title_of
from sdpatterns.core.keys import check_key, check_name, join_key
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.ranges import number
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.undivided import Undivided
from sdpatterns.errors import SagaNotStarted, SagaUndone, VersionConflict
from sdpatterns.messaging.saga.config import SagaConfig
from sdpatterns.messaging.saga.handle import SagaHandle
from sdpatterns.messaging.saga.journal import Journal, RunStarted, RunStatus, encoded
from sdpatterns.messaging.saga.notices import SagaStarted
from sdpatterns.messaging.saga.recording import events_of, write_recording
from sdpatterns.messaging.saga.replay import replay
from sdpatterns.messaging.saga.run import SagaRun
from sdpatterns.messaging.saga.table import SagaTable
from sdpatterns.ports.backend import HasLogs, HasQueues, HasSignals
from sdpatterns.ports.log import EventLog, NewEvent
from sdpatterns.ports.queue import Message, MessageQueue, require
from sdpatterns.ports.signals import SignalBus

__all__ = ["DRIVER", "WAKER", "Saga", "SagaBackend", "Sagas"]

P = ParamSpec("P")
R = TypeVar("R")

DRIVER = b"run"
"""The payload of the message whose owner drives a run; its id is the run's."""
WAKER = b"wake"
"""The payload of a message that wakes the driver of a run; its header `run` names it."""


class SagaBackend(HasLogs, HasQueues, HasSignals, Protocol):
    """What sagas need: a log for the journals, a queue for who drives which run, signals to wake who waits."""


class HasLogAndQueue(HasLogs, HasQueues, Protocol):
    """What a start needs: both in one transaction where it is `backend.within(session)`."""


class Sagas(Undivided):
    """A set of sagas that share a log and a queue of the same name.

    ```python
    import asyncio
    from sdpatterns.backends.memory import MemoryBackend
    from sdpatterns.messaging.saga import SagaRun, Sagas, SagaWorker

    backend = MemoryBackend()
    sagas = Sagas("orders", backend=backend)
    stock, charged = {"lamp": 1}, []

    async def reserve(article: str) -> str:
        stock[article] -= 1
        return article

    async def put_back(article: str) -> None:
        stock[article] += 1

    async def charge(cents: int) -> None:
        if cents > 1000:
            raise ValueError("card declined")
        charged.append(cents)

    @sagas.saga(give_up_on=(ValueError,))
    async def place_order(run: SagaRun, article: str, cents: int) -> str:
        await run.step("reserve", reserve, article, undo=put_back)
        await run.pivot("charge", charge, cents)
        return "ordered"

    async def main() -> tuple[str, str]:
        async with SagaWorker(sagas):
            good = await place_order.start("lamp", 900)
            first = await good.result(timeout_s=5)
            stock["lamp"] = 1
            bad = await place_order.start("lamp", 9000)
            try:
                await bad.result(timeout_s=5)
            except Exception as error:
                return first, str(error).split(": ")[-1]

    assert asyncio.run(main()) == ("ordered", "card declined")
    assert stock["lamp"] == 1
    ```

    **Keeps**: a run that was started ends: completed, undone, or parked with its reason; a worker that dies, or loses
    the store, is followed by another one when its lease ends. A step may run more than once until its end is in the
    journal, each time with the same idempotency key. The journal of a run that has ended is dropped after `keep_s`, but
    not before its parent has ended; never, where that is None. No second run begins with its id, also after that.
    `queue` counts the runs that are under way or parked, `retained` those that have ended and are still kept.
    **May fail** with what the log and the queue raise, when a run is started.
    **Costs** two trips for a start (one transaction with `within`), one append for each step, two trips at the end, one
    delayed message for each run that has ended, for `keep_s`, and four trips to drop it.

    Source: Garcia-Molina and Salem, "Sagas" (1987).
    """

    _elsewhere = "build it there, at import time, with the same backend"

    def __init__(
        self,
        name: str,
        *,
        backend: SagaBackend,
        keep_s: float | None = 14 * 86_400.0,
        ids: Callable[[], str] = lambda: os.urandom(16).hex(),
    ) -> None:
        self.name = check_name("Sagas", name)
        self.keep_s = None if keep_s is None else number("keep_s", keep_s, 1.0, 10 * 366 * 86_400.0)
        for port in ("log", "queue"):
            if not callable(getattr(backend, port, None)):
                raise TypeError(f"sagas need a backend with a {port}, and {type(backend).__name__} has none")
        self.log: EventLog = backend.log(join_key("saga", name))
        self.queue: MessageQueue = backend.queue(join_key("saga", name))
        self.retained: MessageQueue = backend.queue(join_key("saga", name, "retained"))
        require(self.queue, f"Sagas {name!r}", "fence", "delay", "unique", "redrive")
        self.signals: SignalBus = backend.signals
        self.ids = plain("ids", ids)
        self.known: dict[tuple[str, int], Saga[Any, Any]] = {}

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that the backend's I/O needs."""
        return self.queue.runtime

    @overload
    def saga(self, function: Callable[Concatenate[SagaRun, P], Awaitable[R]], /) -> Saga[P, R]: ...
    @overload
    def saga(
        self,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        attempts_max: int = 10,
        backoff: Backoff = "full_jitter",
        base_s: float = 1.0,
        max_s: float = 300.0,
        retry_after_max_s: float = 86_400.0,
        give_up_on: tuple[type[Exception], ...] = (),
    ) -> Callable[[Callable[Concatenate[SagaRun, P], Awaitable[R]]], Saga[P, R]]: ...
    def saga(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        attempts_max: int = 10,
        backoff: Backoff = "full_jitter",
        base_s: float = 1.0,
        max_s: float = 300.0,
        retry_after_max_s: float = 86_400.0,
        give_up_on: tuple[type[Exception], ...] = (),
    ) -> Any:
        """Declare an async function as a saga, by `@sagas.saga` or `@sagas.saga(...)`: see `SagaConfig`.

        A run keeps the version that it was started with. So when you change the steps of a saga, keep its old function
        under `version=1` while runs of it are under way, and give the new one `version=2` and the same `name`.
        """
        config = SagaConfig(
            version=version, attempts_max=attempts_max, backoff=backoff, base_s=base_s, max_s=max_s,
            retry_after_max_s=retry_after_max_s, give_up_on=give_up_on,
        )  # fmt: skip
        if function is not None:
            return self._declare(function, name, config)
        return lambda function: self._declare(function, name, config)

    def _declare(self, function: Any, name: str | None, config: SagaConfig) -> Saga[Any, Any]:
        if not callable(function) or not is_async(function):
            raise TypeError(f"a saga is an async function of a run; got {title_of(function)}")
        name = name or getattr(function, "__name__", None)
        if name is None:
            raise TypeError(f"a saga of {title_of(function)} needs a name: @sagas.saga(name=...)")
        if (name, config.version) in self.known:
            raise ValueError(f"two sagas of {self.name!r} are version {config.version} of {name!r}")
        saga: Saga[Any, Any] = Saga(self, function, name, config)
        self.known[name, config.version] = saga
        return saga

    def versions_of(self, name: str) -> list[int]:
        """The versions of a saga that this code has."""
        return sorted(version for known, version in self.known if known == name)

    def handle(self, run_id: str) -> SagaHandle[Any]:
        """The handle of a run by its id."""
        return SagaHandle(self, run_id)

    async def record(self, *run_ids: str, to: str | Path) -> list[Path]:
        """Write the journals of runs to files in a directory, for `replay`; gives their paths.

        They hold the arguments and results of the runs: look at them before you commit them. Raises `LookupError` for
        a run that is not there.
        """
        return [write_recording(Path(to), self.name, await events_of(self, run_id)) for run_id in run_ids]

    async def replay(self, directory: str | Path) -> list[Path]:
        """Check in a test that runs with the journals in a directory would go on with today's code; gives their paths.

        For each entry of a journal it asks what a worker would do that takes the run over there. No step is run, and
        nothing is read from the store or written. Raises `ReplayFailed` where a run would be parked because the code
        has changed, and `LookupError` for a directory without journals. A journal of n entries is run n times.
        """
        return await replay(self, Path(directory))

    def driver(self, run_id: str, *, replace: bool = False) -> Message:
        """The message whose owner drives a run."""
        return Message(id=run_id, payload=DRIVER, replace=replace)

    async def begin(self, run_id: str, started: RunStarted, view: HasLogAndQueue | None = None) -> None:
        """Start a run; again with the same id, it changes nothing."""
        kind, data = encoded(started)
        event = NewEvent(id=f"{run_id}.started", type=kind, data=data)
        if view is not None:
            # Others see neither of the two before the caller commits.
            await view.log(self.log.name).append(run_id, 0, (event,))
            await view.queue(self.queue.name).publish((self.driver(run_id),))
        else:
            # The driver first, so that no journal is without one. A worker that is quicker waits for the append.
            await self.queue.publish((self.driver(run_id),))
            try:
                await self.log.append(run_id, 0, (event,))
            except VersionConflict:
                if await self.handle(run_id).status() is RunStatus.CLOSED:
                    raise SagaNotStarted(self.name, run_id) from None
                return
        if LISTENERS:
            tell(SagaStarted(name=self.name, saga=started.saga, id=run_id))

    async def wake(self, run_id: str) -> None:
        """Let a run that waits look at its journal now."""
        [is_due] = await self.queue.publish((self.driver(run_id, replace=True),))
        if not is_due:
            # A worker has it, and may be about to put it back with a delay. Each wake-up has an id of its own: one that
            # is being settled would drop another with the same id, and is too early for what has happened since.
            waker = Message(id=f"wake/{run_id}/{self.ids()}", payload=WAKER, headers={"run": run_id})
            await self.queue.publish((waker,))

    async def run_child(
        self,
        run: SagaRun,
        name: str,
        saga: Saga[Any, R],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        undo: Callable[[R], Any] | None,
    ) -> R:
        """See `SagaRun.child`: its start is a step, and its end a signal."""
        child = saga.options(id=f"{run.id}/{name}")
        start, end = f"{name} started", f"{name} ended"

        async def begin() -> None:
            await self.begin(child.run_id, child.started(args, kwargs, [run.id, end]))

        async def cancel(_: None) -> None:
            handle: SagaHandle[R] = SagaHandle(self, child.run_id)
            await handle.cancel(f"{run.id} failed")
            with_result = (await handle.journal()).ended
            if undo is not None and with_result is not None and with_result.status == RunStatus.COMPLETED:
                found = undo(saga.loaded(with_result.value))
                if inspect.isawaitable(found):
                    await found

        await run.step(start, begin, undo=cancel)
        status, value = await run.signal(end)
        if status != RunStatus.COMPLETED:
            raise SagaUndone(self.name, child.run_id, str(value))
        return saga.loaded(value)

    def version_of(self, journal: Journal) -> Saga[Any, Any] | None:
        """The code of a run; None where this code has not its version."""
        started = journal.started
        return None if started is None else self.known.get((started.saga, started.version))

    def ended_topic(self, run_id: str) -> str:
        """What is notified when a run has ended. One subscription for all runs of a process."""
        return f"{join_key('saga', self.name)}#{run_id}"

    def cause_of(self, journal: Journal) -> Exception | None:
        """The exception that a run failed with, where it was declared."""
        saga, failed = self.version_of(journal), journal.failed
        if saga is None or failed is None or not failed.error:
            return None
        return ErrorCodec(saga.config.give_up_on, "give_up_on").decode(failed.error)

    def __repr__(self) -> str:
        return f"<Sagas {self.name!r}: {', '.join(sorted({name for name, _ in self.known})) or 'none yet'}>"


class Saga(Generic[P, R]):
    """One kind of saga: `await saga.start(...)` begins a run, with the arguments of its function."""

    def __init__(self, sagas: Sagas, function: Callable[..., Any], name: str, config: SagaConfig) -> None:
        self.name = check_name("saga", name)
        self.function = function
        self.config = config
        whole = inspect.signature(function)
        self.parameters = Parameters(whole.replace(parameters=list(whole.parameters.values())[1:]))
        self._sagas = sagas
        self._run_id: str | None = None
        self._view: HasLogAndQueue | None = None
        self.table: SagaTable[Any] | None = function if isinstance(function, SagaTable) else None
        functools.update_wrapper(self, function, updated=())  # type: ignore[arg-type]

    @property
    def run_id(self) -> str:
        """The id that `options` gave, or a new one each time."""
        return self._sagas.ids() if self._run_id is None else self._run_id

    def options(self, *, id: str) -> Saga[P, R]:  # noqa: A002 - what it is called everywhere
        """The same saga, whose next run has this id: the order's, or another name of what it is for."""
        return self._changed(_run_id=check_key(id))

    def within(self, view: HasLogAndQueue) -> Saga[P, R]:
        """The same saga, started in the caller's transaction: `place_order.within(backend.within(session))`."""
        return self._changed(_view=view)

    def _changed(self, **fields: object) -> Saga[P, R]:
        found = copy.copy(self)
        vars(found).update(fields)
        return found

    async def start(self, *args: P.args, **kwargs: P.kwargs) -> SagaHandle[R]:
        """Begin a run; it is there when this returns (or the transaction commits).

        Raises TypeError for arguments that the function does not take, or that would not come back as they are;
        `SagaNotStarted` where this took so long that a worker has closed the run; `BackendUnavailable` or
        `OutcomeUnknown` where the store failed. Start again with the same `options(id=...)` then: it is begun once.
        """
        run_id = self.run_id
        await self._sagas.begin(run_id, self.started(args, kwargs, []), self._view)
        return SagaHandle(self._sagas, run_id)

    def started(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], parent: list[str]) -> RunStarted:
        """The first entry of a run."""
        arguments = self.parameters.named(args, kwargs)
        if self.table is not None:
            arguments = {name: self.table.dump(state) for name, state in arguments.items()}
        return RunStarted(self.name, self.config.version, arguments, carried(), parent)

    def arguments(self, started: RunStarted) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What its function is called with. Raises `CodecError` where that does not fit the function any more."""
        arguments = dict(started.arguments)
        if self.table is not None:
            arguments = {name: self.table.load(state) for name, state in arguments.items()}
        return self.parameters.fitting(arguments)

    def stored(self, result: Any) -> Any:
        """What its function returned, as it stands in the journal."""
        return result if self.table is None else self.table.dump(result)

    def loaded(self, value: Any) -> R:
        """The reverse of `stored`."""
        return cast("R", value if self.table is None else self.table.load(value))

    def __repr__(self) -> str:
        return f"<Saga {self.name!r}, version {self.config.version}, of {self._sagas.name!r}>"
