"""A versioned map: what a store without scripts implements, and one attempt at steps on top of it.

```
attempt:  read ---> snapshot ---> apply_steps ---> changes ---> write ---> None: all of it is written
                                                                  └-----> Conflict: others wrote first
```
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol

from sdpatterns.ports.engine.steps import CellKey, Change, PendingStep, Snapshot, apply_steps

__all__ = ["Conflict", "VersionedMap", "attempt", "names_of"]


class Conflict(NamedTuple):
    """The cells that were not written because they are not as they were found, or are held by others.

    `snapshot` is what stands there now, where the store has said so: it saves the next attempt the read.
    `held_by` says who holds them, and what to do, for a caller whose deadline comes first.
    """

    keys: Collection[CellKey]
    snapshot: Snapshot | None = None
    held_by: str = ""


class VersionedMap(Protocol):
    """Cells with versions. Both methods may be coroutines that never suspend.

    **Keeps**: what `write` compares and what it writes happen in one moment. A version is never the same
    for two contents of a cell, also where the cell was dropped in between. **May fail**: `read` in any
    way, because nothing has happened by then; `write` with `NotSent` where nothing happened and
    `ReplyLost` where it may have.
    """

    def read(self, keys: Sequence[CellKey], /) -> Coroutine[Any, Any, Snapshot]:
        """All these cells and the store's time, which is taken after they were read."""
        ...

    async def write(self, changes: Sequence[Change], topics: Sequence[str], /) -> Conflict | None:
        """Make the changes whose cells are as they were found, and announce their topics and `topics`.

        None when all of them are made. Changes of one cell each may be made although others conflict;
        as soon as one step changes or compares several cells, it is all of them or none.
        """
        ...


def names_of(steps: Sequence[PendingStep]) -> Sequence[CellKey]:
    """The cells that the steps touch, each once."""
    # Most batches are one step on one cell.
    if len(steps) == 1 and len(steps[0].names) == 1:
        return steps[0].names
    return tuple(dict.fromkeys([name for step in steps for name in step.names]))


async def attempt(
    store: VersionedMap, steps: Sequence[PendingStep], snapshot: Snapshot | None = None
) -> Conflict | None:
    """Run all steps once on what was read, and write what they changed, once.

    A snapshot with all their cells saves the read.
    """
    names = names_of(steps)
    # A lost race has already said what stands there; but after it the batch may hold other steps.
    if snapshot is None or any(name not in snapshot.found for name in names):
        snapshot = await store.read(names)
    changes, topics = apply_steps(steps, snapshot)
    return await store.write(changes, topics) if changes or topics else None
