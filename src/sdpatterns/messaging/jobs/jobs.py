"""Declare jobs, and enqueue them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import inspect
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from sdpatterns.algorithms.backoff import Backoff
from sdpatterns.core.arguments import Parameters
from sdpatterns.core.carried import DEADLINE, carried
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.judging import is_async, plain, title_of
from sdpatterns.core.keys import check_name, join_key
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.step import Repeats, Step
from sdpatterns.core.tracing import TRACERS, Opened
from sdpatterns.core.undivided import Undivided
from sdpatterns.messaging.jobs.chains import GROUPS, GroupState, StartGroup, member
from sdpatterns.messaging.jobs.config import JobConfig, JobOptions, Upgrade
from sdpatterns.messaging.jobs.handle import JobHandle
from sdpatterns.messaging.jobs.notices import JobEnqueued
from sdpatterns.messaging.jobs.payload import encoded
from sdpatterns.messaging.jobs.presence import PRESENCES, Presences
from sdpatterns.messaging.jobs.record import RECORDS, JobRecord
from sdpatterns.messaging.jobs.schedule import Missed, Schedule, Times
from sdpatterns.ports.backend import HasQueues, HasSignals, HasStates
from sdpatterns.ports.queue import Message, MessageQueue, QueueSettings, require
from sdpatterns.ports.signals import SignalBus
from sdpatterns.ports.states import Cells, Space

__all__ = ["Job", "JobBackend", "Jobs"]

P = ParamSpec("P")
R = TypeVar("R")

_CONTROLS_KEPT_S = 10 * 366 * 86_400.0


class JobBackend(HasQueues, HasStates, HasSignals, Protocol):
    """What jobs need: a queue for the work, cells for results, signals to wake workers."""


class Jobs(Undivided):
    """A set of jobs that share a queue: the name is the queue's.

    ```python
    import asyncio
    from sdpatterns.backends.memory import MemoryBackend
    from sdpatterns.messaging.jobs import Jobs, Worker

    backend = MemoryBackend()
    jobs = Jobs("mail", backend=backend)

    @jobs.job(attempts_max=3, keep_result_s=60)
    async def greet(name: str) -> str:
        return f"Hello {name}"

    async def main() -> str:
        async with Worker(jobs):
            handle = await greet.enqueue("Ada")
            return await handle.result(timeout_s=5)

    assert asyncio.run(main()) == "Hello Ada"
    ```

    **Keeps**: a job that was enqueued runs until it has returned once, given up (`attempts_max`,
    `give_up_on`) or been cancelled; a worker that dies, or loses the store, is followed by another one when
    its lease ends. So a job may begin more than once: make its effects idempotent.
    **May fail** with what the queue raises, when a job is enqueued.
    **Costs** one message for each job; a cell more where its result is kept.
    """

    _elsewhere = "build it there, at import time, with the same backend"

    def __init__(
        self,
        name: str,
        *,
        backend: JobBackend,
        settings: QueueSettings | None = None,
        ids: Callable[[], str] = lambda: os.urandom(16).hex(),
    ) -> None:
        self.name = check_name("Jobs", name)
        if not callable(getattr(backend, "queue", None)):
            raise TypeError(f"jobs need a backend with queues, and {type(backend).__name__} has none")
        self.queue: MessageQueue = backend.queue(name, settings or QueueSettings())
        require(self.queue, f"Jobs {name!r}", "fence", "delay", "unique")
        self.signals: SignalBus = backend.signals
        self.known: dict[str, Job[Any, Any]] = {}
        self.schedules: dict[str, Schedule] = {}
        self.ids = plain("ids", ids)
        self._settings = settings or QueueSettings()
        cells = backend.states.cells
        self.records: Cells[JobRecord] = cells(Space(join_key("jobs", name), RECORDS))
        self.groups: Cells[GroupState] = cells(Space(join_key("jobs", name, "groups"), GROUPS))
        self.workers: Cells[Presences] = cells(Space(join_key("jobs", name, "workers"), PRESENCES))
        self.controls: Cells[tuple[int, ...]] = cells(Space(join_key("jobs", name, "controls"), IntegersCodec()))

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that the backend's I/O needs."""
        return self.queue.runtime

    @overload
    def job(self, function: Callable[P, Awaitable[R]], /) -> Job[P, R]: ...
    @overload
    def job(self, function: Callable[P, R], /) -> Job[P, R]: ...
    @overload
    def job(
        self,
        /,
        *,
        name: str | None = None,
        attempts_max: int = 5,
        backoff: Backoff = "full_jitter",
        base_s: float = 1.0,
        max_s: float = 300.0,
        retry_after_max_s: float = 86_400.0,
        give_up_on: tuple[type[Exception], ...] = (),
        keep_result_s: float | None = None,
        version: int = 1,
        upgrades: Mapping[int, Upgrade] | None = None,
    ) -> _Decorator: ...
    def job(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        attempts_max: int = 5,
        backoff: Backoff = "full_jitter",
        base_s: float = 1.0,
        max_s: float = 300.0,
        retry_after_max_s: float = 86_400.0,
        give_up_on: tuple[type[Exception], ...] = (),
        keep_result_s: float | None = None,
        version: int = 1,
        upgrades: Mapping[int, Upgrade] | None = None,
    ) -> Any:
        """Declare a function as a job, by `@jobs.job` or `@jobs.job(...)`: see `JobConfig` for the settings.

        A plain function runs in a thread. Limits, breakers and time-outs are decorators between this one and the
        function: a call that they refuse is tried again later and does not count as an attempt. `name` stands in
        the messages; without it, it is the function's.
        """
        config = JobConfig(
            attempts_max=attempts_max, backoff=backoff, base_s=base_s, max_s=max_s, retry_after_max_s=retry_after_max_s,
            give_up_on=give_up_on, keep_result_s=keep_result_s, version=version, upgrades=dict(upgrades or {}),
        )  # fmt: skip
        if function is not None:
            return self._declare(function, name, config)
        return lambda function: self._declare(function, name, config)

    def _declare(self, function: Any, name: str | None, config: JobConfig) -> Job[Any, Any]:
        if not callable(function) or inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise TypeError(f"a job is a function that returns; got {title_of(function)}")
        name = name or getattr(function, "__name__", None)
        if name is None:
            raise TypeError(f"a job of {title_of(function)} needs a name: @jobs.job(name=...)")
        if name in self.known:
            raise ValueError(f"two jobs of {self.name!r} are called {name!r}: give one of them a name")
        job: Job[Any, Any] = Job(self, function, name, config)
        self.known[name] = job
        return job

    def schedule(self, name: str, message: Message, times: Times, *, missed: Missed = "once") -> Schedule:
        """Run a job at times: `jobs.schedule("nightly", payout.message(), Cron("0 3 * * *"))`.

        Every worker of these jobs keeps the schedule going, and each time is run by one of them.
        """
        if name in self.schedules:
            raise ValueError(f"two schedules of {self.name!r} are called {name!r}")
        made = Schedule(name=check_name("schedule", name), message=message, times=times, missed=missed)
        self.schedules[name] = made
        return made

    def handle(self, job_id: str) -> JobHandle[Any]:
        """The handle of a job by its id."""
        return JobHandle(self.name, job_id, self.queue, self.records, self.signals)

    async def publish(self, messages: Sequence[Message], queue: MessageQueue | None = None) -> Sequence[bool]:
        """Put messages in the queue, or in the same queue of a transaction."""
        return await (self.queue if queue is None else queue).publish(messages)

    async def group(self, messages: Sequence[Message], then: Message) -> JobHandle[Any]:
        """Publish jobs, and another one that runs when all of them have returned; its handle.

        A member that is parked holds that one back, until it is redriven and returns.
        """
        group_id = self.ids()
        last = dataclasses.replace(then, id=f"group/{group_id}")
        # Noted first, because a member may return before the call that publishes them does.
        await self.groups.transact(group_id, StartGroup(len(messages), last))
        await self.publish([member(message, group_id) for message in messages])
        return self.handle(last.id)

    async def pause(self) -> None:
        """Let workers claim nothing more, within their `poll_s`, until `resume`. What runs goes on."""
        await self.controls.transact("paused", _SetPaused((1,)))

    async def resume(self) -> None:
        """Let workers claim again, within their `poll_s`."""
        await self.controls.transact("paused", _SetPaused((0,)))

    async def is_paused(self) -> bool:
        """Whether workers are told to claim nothing."""
        return await self.controls.read("paused") == (1,)

    def queue_in(self, view: HasQueues) -> MessageQueue:
        """The queue on a transaction of the caller's: `backend.within(session)`."""
        return view.queue(self.name, self._settings)

    def __repr__(self) -> str:
        return f"<Jobs {self.name!r}: {', '.join(sorted(self.known)) or 'none yet'}>"


class _SetPaused:
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, state: tuple[int, ...]) -> None:
        self._state = state

    def __call__(self, states: Sequence[tuple[int, ...] | None], now_us: int, /) -> Step[tuple[int, ...], None]:
        return (self._state,), None, (_CONTROLS_KEPT_S,), ()


class _Decorator(Protocol):
    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Job[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Job[P, R]: ...


class Job(Generic[P, R]):
    """One kind of job: a function that can be called at once, or enqueued.

    `job(...)` calls it here and now. `await job.enqueue(...)` takes the same arguments, checked by type checkers,
    and puts the call in the queue.
    """

    def __init__(
        self,
        jobs: Jobs,
        function: Callable[..., Any],
        name: str,
        config: JobConfig,
        options: JobOptions | None = None,
        queue: MessageQueue | None = None,
    ) -> None:
        self.name = check_name("job", name)
        self.function = function
        self.config = config
        self.is_async = is_async(function)
        self.parameters = Parameters(inspect.signature(function))
        self._jobs = jobs
        self._options = options or JobOptions()
        self._queue = queue
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    def options(
        self,
        *,
        id: str | None = None,  # noqa: A002 - what it is called everywhere
        key: str | None = None,
        tenant: str | None = None,
        delay_s: float | None = None,
        rank_s: float | None = None,
        replace: bool | None = None,
        deadline_s: float | None = None,
        due_at: dt.datetime | None = None,
    ) -> Job[P, R]:
        """The same job with other options for what is enqueued through it: see `JobOptions`."""
        given = {
            "id": id, "key": key, "tenant": tenant, "delay_s": delay_s,
            "rank_s": rank_s, "replace": replace, "deadline_s": deadline_s, "due_at": due_at,
        }  # fmt: skip
        options = dataclasses.replace(self._options, **{name: it for name, it in given.items() if it is not None})  # type: ignore[arg-type]
        return Job(self._jobs, self.function, self.name, self.config, options, self._queue)

    def within(self, view: HasQueues) -> Job[P, R]:
        """The same job, enqueued in the caller's transaction: `send.within(backend.within(session))`."""
        queue = self._jobs.queue_in(view)
        return Job(self._jobs, self.function, self.name, self.config, self._options, queue)

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Put a call in the queue.

        Raises TypeError for arguments that the function does not take, or that would not come back as they are;
        `BackendUnavailable` or `OutcomeUnknown` where the store failed. Enqueue again with the same
        `options(id=...)` then: a job with that id is added once.
        """
        message, queue = self.message(*args, **kwargs), self._queue or self._jobs.queue
        if TRACERS:
            with Opened(f"enqueue {self.name}", "producer", {"messaging.destination.name": self._jobs.name}):
                message = dataclasses.replace(message, headers={**message.headers, **carried()})
                await queue.publish((message,))
        else:
            await queue.publish((message,))
        if LISTENERS:
            tell(JobEnqueued(name=self._jobs.name, job=self.name, id=message.id))
        return cast("JobHandle[R]", self._jobs.handle(message.id))

    def message(self, *args: P.args, **kwargs: P.kwargs) -> Message:
        """The call as a message, to be published with others at once: `await jobs.publish([...])`."""
        options = self._options
        payload = encoded(self.name, self.config.version, self.parameters.named(args, kwargs))
        headers = carried()
        if options.deadline_s is not None:
            headers[DEADLINE] = str(round(options.deadline_s * 1000))
        return Message(
            id=options.id or self._jobs.ids(), payload=payload, key=options.key, tenant=options.tenant,
            delay_s=options.delay_from_s(SYSTEM.now_us()), rank_s=options.rank_s, replace=options.replace,
            headers=headers,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Job {self.name!r} of {self._jobs.name!r}>"
