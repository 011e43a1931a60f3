"""Signals: NOTIFY on Postgres, a changed file on SQLite, and the waiters of this process."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar

from sdpatterns.backends.sqlalchemy.engine.dialect import payload
from sdpatterns.backends.sqlalchemy.resources import SQLResources
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.step import Repeats, Step
from sdpatterns.ports.engine.remote import RemoteSubscription
from sdpatterns.ports.engine.steps import PendingStep
from sdpatterns.ports.signals import Subscription
from sdpatterns.ports.space import Space

__all__ = ["SQLSignals"]

_NOWHERE: Space[tuple[int, ...]] = Space("announcements", IntegersCodec())


class Notify:
    """A step on no cell at all that wakes."""

    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Step[Any, None]:
        return (), None, (), self._topics


class SQLSignals:
    """Sends signals between all processes that use the same database: see `SignalBus`.

    May fail: `notify` and entering a subscription with `BackendUnavailable`. **Costs**: on Postgres the
    notifications of a loop, or of all threads, go together, at most every two milliseconds, on a connection that
    only notifies; on SQLite a notification is folded with the steps of its loop turn. A subscription costs
    nothing on Postgres beyond the one connection that listens for the loop; on SQLite a look at the file every
    50 ms while there are any, and what another process writes wakes all of them.
    """

    def __init__(
        self,
        runtime: Runtime,
        here: Callable[[], SQLResources],
        run: Callable[[PendingStep], Coroutine[Any, Any, Any]],
    ) -> None:
        self.runtime: Runtime | None = runtime
        self._here = here
        self._run = run

    async def notify(self, *topics: str) -> None:
        """Wake all that subscribe to one of the topics."""
        if not topics:
            return
        notifier = self._here().notifier
        if notifier is None:
            await self._run(PendingStep(_NOWHERE, (), Notify(topics)))
        else:
            await notifier.notify(topics)

    def subscribe(self, *topics: str) -> Subscription:
        """A subscription to these topics, to be entered with `async with`."""
        return RemoteSubscription(lambda: self._here().listener, tuple(map(payload, topics)))
