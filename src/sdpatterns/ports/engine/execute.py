"""Carry steps to their end: over lost replies, lost races, a store that is away.

```
          ┌------------- others wrote first: pause, take a turn ------------┐
          v                                                                 |
steps --> attempt --> written: each step has its answer, or its own error   |
          |  ^   └---------------------------------------------------------┘
          |  └-- reply lost, and harmless to repeat: once more
          └----- not sent: BackendUnavailable      reply lost: OutcomeUnknown
```

A lost race is not an outage, because another caller's write won it. So a loser tries again until its
own caller's deadline. The first pauses are short and drawn at random; after `_RACES_MAX` lost races the
store is asked for a turn, in which no other client writes these cells.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from sdpatterns.core.runtime import Runtime
from sdpatterns.errors import BackendUnavailable, SdpatternsError
from sdpatterns.ports.engine.failures import Lost, NotSent, ReplyLost, may_repeat
from sdpatterns.ports.engine.steps import PendingStep, Snapshot
from sdpatterns.ports.engine.versioned import Conflict

__all__ = ["Attempts", "Races", "execute", "losers_of", "send"]

_RACES_MAX = 3
_RACES_TOGETHER_MAX = 6
_PAUSE_MIN_S = 0.001
_PAUSE_MAX_S = 0.05


class Races:
    """The races that a batch of steps has lost so far, and what it learned from the last one.

    `token` is under what name the store knows this batch while it has its turn, where it needs one.
    """

    __slots__ = ("has_turn", "lost", "snapshot", "token")

    def __init__(self, *, in_turn: bool = False) -> None:
        self.lost = _RACES_MAX if in_turn else 0
        self.snapshot: Snapshot | None = None
        self.has_turn = False
        self.token = b""

    @property
    def want_turn(self) -> bool:
        """Whether it is time to keep the others off these cells."""
        return self.lost >= _RACES_MAX

    def lose(self, conflict: Conflict) -> None:
        """One more."""
        self.lost += 1
        self.snapshot = conflict.snapshot

    def pause_s(self, random: float) -> float:
        """How long to wait before the next attempt: longer and longer, and each a different time."""
        # The first loss is mostly bad luck, and a turn lasts too short a time to be slept through.
        if self.lost == 1 or self.has_turn:
            return 0.0
        return random * min(_PAUSE_MAX_S, _PAUSE_MIN_S * 2.0 ** min(self.lost, 16))


class Attempts(Protocol):
    """What the loop asks of a store."""

    @property
    def shown(self) -> str:
        """What the store is called in messages, without secrets."""
        ...

    @property
    def runtime(self) -> Runtime:
        """How to wait."""
        ...

    def random(self) -> float:
        """Between 0 and 1: the jitter of pauses."""
        ...

    def attempt(self, steps: Sequence[PendingStep], races: Races, /) -> Coroutine[Any, Any, Conflict | None]:
        """All steps once. Raises `NotSent` where nothing happened, `ReplyLost` where they may have."""
        ...

    def unavailable(self, cause: BaseException | str, /) -> SdpatternsError:
        """The exception for a step that did not happen, because the store is away or refuses."""
        ...

    def unknown(self, cause: BaseException | str, /) -> SdpatternsError:
        """The exception for a step that may have happened."""
        ...


async def execute(store: Attempts, steps: Sequence[PendingStep], races: Races | None = None) -> Lost | None:
    """Run the steps until each of them has its answer or its error. `races` are those lost before.

    Returns the failure where the store did not answer in time, because those who wait behind these steps
    have then waited for as long as one may.
    """
    races, todo = Races() if races is None else races, steps
    while True:
        late = await send(store, todo, races)
        todo = losers_of(store, todo)
        if late is not None or not todo:
            return late
        if races.lost >= _RACES_TOGETHER_MAX and len({tuple(step.names) for step in todo}) > 1:
            # The fewer cells a write compares, the sooner it wins against other processes.
            return await _one_by_one(store, todo)
        pause_s = races.pause_s(store.random())
        if pause_s:
            await store.runtime.sleep(pause_s)


def losers_of(store: Attempts, steps: Sequence[PendingStep]) -> Sequence[PendingStep]:
    """The steps that lost a race and are still wanted. Those past their deadline fail."""
    losers = [step for step in steps if step.conflicted]
    if not losers:
        return losers
    for step in losers:
        if step.is_over:
            step.conflicted = False
            step.fail(store.unknown("the deadline has passed") if step.in_doubt else _too_late(store, step))
    return [step for step in losers if step.conflicted]


def _too_late(store: Attempts, step: PendingStep) -> BackendUnavailable:
    why = step.held_by or f"others wrote cells of {step.space.name!r} first each time"
    return BackendUnavailable(f"{store.shown}: the deadline has passed and nothing was written: {why}")


async def _one_by_one(store: Attempts, steps: Sequence[PendingStep]) -> Lost | None:
    late: Lost | None = None
    for step in steps:
        # After one that came too late the others are not tried, because each would wait for as long again.
        if late is None:
            late = await execute(store, [step])
        else:
            step.fail(store.unavailable(late.cause))
    return late


async def send(store: Attempts, steps: Sequence[PendingStep], races: Races) -> Lost | None:
    """Make one attempt, and one more where it is harmless after a failure; the failure if it came too late.

    When it returns each step has its answer, its error, or is `conflicted`.
    """
    todo, is_last = steps, False
    try:
        while True:
            try:
                conflict = await store.attempt(todo, races)
            except Lost as lost:
                # What was found before may have been overwritten by the very attempt that failed.
                races.snapshot = None
                # One step may be to blame, such as a value that the database refuses: the others must not suffer.
                if isinstance(lost, NotSent) and lost.apart and len(todo) > 1:
                    return await _one_by_one(store, todo)
                todo = [step for step in todo if _is_sent_again(store, step, lost, is_last=is_last)]
                if lost.is_late:
                    return lost
                if not todo:
                    return None
                is_last = True
            else:
                _settle(todo, conflict, races)
                return None
    finally:
        # Cancelled or interrupted in the middle: no caller may wait without end.
        for step in steps:
            if not step.done:
                step.fail(store.unknown(ConnectionAbortedError("the client was stopped")))


def _settle(steps: Sequence[PendingStep], conflict: Conflict | None, races: Races) -> None:
    if conflict is not None:
        races.lose(conflict)
        for step in steps:
            if any(name in conflict.keys for name in step.names):
                step.conflict(conflict.held_by)
    for step in steps:
        step.done = True


def _is_sent_again(store: Attempts, step: PendingStep, lost: Lost, *, is_last: bool) -> bool:
    """Whether it is worth another attempt. If not, it has failed."""
    # Kept for good: a later attempt that was not sent says nothing about the one whose reply was lost.
    step.in_doubt = step.in_doubt or isinstance(lost, ReplyLost)
    harmless = step.transition.repeats == "harmless"
    if not is_last and may_repeat(lost, harmless=harmless, in_doubt=step.in_doubt):
        return True
    step.fail((store.unknown if step.in_doubt else store.unavailable)(lost.cause))
    return False
