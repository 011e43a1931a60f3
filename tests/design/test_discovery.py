"""Point (e) of `docs/design/ports.md`: membership in one cell, liveness in a cell of each instance.

Clients that beat at the same time into one cell make each other read and write again. The writes are counted on
the server: one per beat where each instance has a cell of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from redis import Redis

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.step import Repeats, Step
from sdpatterns.ports.states import Space

CLIENTS, BEATS = 20, 3


@dataclasses.dataclass(frozen=True)
class Beat:
    """An instance says that it lives: its number and the time, among those of others."""

    instance: int
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __call__(self, states: Sequence[tuple[int, ...] | None], now_us: int, /) -> Step[tuple[int, ...], None]:
        [state] = states
        pairs = dict(zip(state[::2], state[1::2], strict=True)) if state else {}
        pairs[self.instance] = now_us
        return [tuple(number for pair in pairs.items() for number in pair)], None, [60.0], ()


async def beat_together(url: str, cell_of: dict[int, str]) -> None:
    async def client(instance: int) -> None:
        # A backend of its own: one of them alone folds the steps of its tasks into one write.
        async with RedisBackend.from_url(url) as backend:
            cells = backend.states.cells(Space("design/discovery", IntegersCodec()))
            for _ in range(BEATS):
                await cells.transact(cell_of[instance], Beat(instance))

    await asyncio.gather(*map(client, cell_of))


def scripts_run(url: str, cell_of: dict[int, str]) -> int:
    """Scripts that the server ran while all clients beat. A beat needs two: a read and a write."""
    with Redis.from_url(url) as server:
        server.config_resetstat()
        asyncio.run(beat_together(url, cell_of))
        stats: Any = server.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


def test_instances_with_a_cell_each_write_once_per_beat(valkey_url: str) -> None:
    cells = {instance: f"payments/{instance}" for instance in range(CLIENTS)}
    # A script that the server does not know yet costs a call more.
    assert 2 * CLIENTS * BEATS <= scripts_run(valkey_url, cells) <= 2 * CLIENTS * BEATS + 2 * CLIENTS


def test_instances_that_share_a_cell_make_each_other_write_again(valkey_url: str) -> None:
    # All read before the first of them writes, so that all others of the first wave lose a race at least.
    assert scripts_run(valkey_url, dict.fromkeys(range(CLIENTS), "payments")) > 2 * CLIENTS * BEATS + 3 * CLIENTS
