"""A projection with one partition and with several, where applying an event waits for 10 ms.

400 events of 50 streams, in memory: what is measured is how far the waiting of different streams overlaps.

    python benchmarks/projection.py [rounds]
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import time
from collections.abc import Callable

from harness import interleaved, report

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.messaging.eventstore import EventStore, StoredEvent
from sdpatterns.messaging.projection import Projection
from sdpatterns.messaging.schema import EventSchema, EventType

EVENTS, STREAMS, WAIT_S = 400, 50, 0.01


@dataclasses.dataclass(frozen=True)
class Added:
    number: int


async def slowly(_: StoredEvent) -> None:
    await asyncio.sleep(WAIT_S)


async def applied(partitions: int) -> float:
    backend = MemoryBackend()
    store = EventStore("bench", backend=backend, schema=EventSchema(EventType("added", Added)))
    for number in range(EVENTS):
        await store.append(f"stream-{number % STREAMS}", number // STREAMS, [Added(number)])
    projection = Projection("view", store, slowly, backend=backend, partitions=partitions)
    began = time.perf_counter()
    async with projection:
        await projection.caught_up(EVENTS, 120.0)
    return (time.perf_counter() - began) / EVENTS


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5

    def case(partitions: int) -> Callable[[], float]:
        return lambda: asyncio.run(applied(partitions))

    cases = {f"{count} partition{'s' * (count > 1)}": case(count) for count in (1, 4, 8, 16)}
    report("projection_partitions", interleaved(cases, rounds), "1 partition", ["sdpatterns"])


if __name__ == "__main__":
    main()
