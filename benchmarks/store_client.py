"""The program that `store_losses.py` kills: it writes, publishes and settles, and says what was acknowledged.

python benchmarks/store_client.py URL strong|weak SEED
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Any

from sdpatterns.backends import from_url
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.errors import BackendError
from sdpatterns.ports.queue import Complete, Message
from sdpatterns.ports.states import Space

WRITERS, WORKERS = 16, 8
LEASE_S, DELAY_S = 30.0, 200.0


class Put:
    """Writes a number."""

    repeats = "harmless"
    script = None

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, states: Any, now_us: int, /) -> Any:
        return [(self.number,)], None, [3600.0], ()


def backend_of(url: str, *, durable: bool) -> Any:
    """The backend of a URL, which is meant to lose what its settings lose."""
    if url.startswith("redis"):
        return RedisBackend.from_url(url, warns_of_loss=False)
    if url.startswith(("sqlite", "postgresql")):
        return SQLBackend.from_url(url, durable=durable)
    return from_url(url)


def numbers(backend: Any) -> Any:
    """The cells in which the numbers stand."""
    return backend.states.cells(Space("losses", IntegersCodec()))


def say(verb: str, what: object) -> None:
    """One line, in one write: a kill does not divide it from the work before it."""
    os.write(1, f"{verb} {what}\n".encode())


async def write(cells: Any, seed: str, place: int) -> None:
    number = 0
    while True:
        number += 1
        await cells.transact(f"{seed}/{place}", Put(number))
        say("wrote", f"{place}={number}")
        await asyncio.sleep(0)  # a store in memory never lets the others go


async def publish(queue: Any, place: int) -> None:
    number = 0
    while True:
        number += 1
        # Every other one is not due before the kill, so that it certainly waits then.
        await queue.publish([Message(id=f"{place}-{number}", payload=b"", delay_s=DELAY_S * (number % 2))])
        say("published", f"{place}-{number}")
        await asyncio.sleep(0)


async def work(queue: Any) -> None:
    while True:
        claims = (await queue.claim(4, LEASE_S)).messages
        for each in claims:
            say("settling", each.id)
        await queue.settle([Complete(each) for each in claims])
        for each in claims:
            say("settled", each.id)
        await asyncio.sleep(0.03)  # slower than they are published, so that some wait at every moment


async def main(url: str, settings: str, seed: str) -> None:
    async with backend_of(url, durable=settings == "strong") as backend:
        cells = numbers(backend)
        tasks = [write(cells, seed, place) for place in range(WRITERS)]
        if hasattr(backend, "queue"):
            queue = backend.queue(f"losses-{seed}")
            tasks += [publish(queue, place) for place in range(WORKERS)]
            tasks += [work(queue) for _ in range(WORKERS)]
        with contextlib.suppress(BackendError):
            await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
