"""Which workers there are, and what they work on: one cell for all workers of a queue of jobs.

Each worker writes its own entry every few seconds, and drops entries of those that have said nothing for long.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

from sdpatterns.core.codec import JsonCodec
from sdpatterns.core.step import Repeats, Step

__all__ = ["PRESENCES", "TELL_EVERY_S", "NotePresence", "Presence", "Presences", "Task", "here"]

TELL_EVERY_S = 10.0
"""How often a worker writes its entry."""
_SILENT_US = round(3 * TELL_EVERY_S * 1_000_000)
_KEEP_S = 86_400.0
WORKERS_MAX = 1000
"""Beyond this number the entries that were written longest ago are dropped: they stand in one cell."""
TASKS_MAX = 20
"""How many of its jobs a worker names: those that have run for longest."""


class Task(NamedTuple):
    """A job that a worker runs, and since when."""

    job: str
    id: str
    attempt: int
    began_us: int


class Presence(NamedTuple):
    """One worker: where it is, since when, how many jobs it runs and has places for, and the oldest of these jobs.

    `seen_us` is when it wrote this. All instants are by the store's clock.
    """

    host: str
    pid: int
    began_us: int
    seen_us: int
    running: int
    places: int
    tasks: Sequence[Task]


Presences: TypeAlias = dict[str, Presence]
"""Workers by their ids."""


def _dump(found: Presences) -> dict[str, Any]:
    return {worker: [*it[:-1], [list(task) for task in it.tasks]] for worker, it in found.items()}


def _load(found: dict[str, Any]) -> Presences:
    return {worker: Presence._make([*it[:-1], [Task(*task) for task in it[-1]]]) for worker, it in found.items()}


PRESENCES: JsonCodec[Presences] = JsonCodec(_dump, _load)
"""How the entries are written."""


def here() -> tuple[str, int]:
    """The name of this machine, and the id of this process."""
    return socket.gethostname(), os.getpid()


class NotePresence:
    """Write the entry of one worker, or take it out where `found` is None. Answers the entries of all that live.

    The instants of `found` are seconds before the store's now: only the store's clock is the same for all.
    """

    __slots__ = ("_found", "_worker")
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, worker: str, found: Presence | None) -> None:
        self._worker = worker
        self._found = found

    def __call__(self, states: Sequence[Presences | None], now_us: int, /) -> Step[Presences, Presences]:
        """Those that have said nothing for three times the usual period are gone."""
        [state] = states
        alive = {worker: it for worker, it in (state or {}).items() if now_us - it.seen_us < _SILENT_US}
        alive.pop(self._worker, None)
        if self._found is not None:
            found = self._found
            tasks = [task._replace(began_us=now_us - task.began_us) for task in found.tasks[:TASKS_MAX]]
            alive[self._worker] = found._replace(began_us=now_us - found.began_us, seen_us=now_us, tasks=tasks)
        kept = sorted(alive.items(), key=lambda entry: entry[1].seen_us)[-WORKERS_MAX:]
        return (dict(kept),), dict(kept), (_KEEP_S,), ()
