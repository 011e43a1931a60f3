"""No cancelled request costs its client a connection, and no connection is left without an owner."""

from __future__ import annotations

import gc
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from sdpatterns import Timeout
from sdpatterns.core.policy import Policy
from sdpatterns.errors import DeadlineExceeded
from sdpatterns.web import httpx as ours
from sdpatterns.web import httpx2 as ours2
from tests.machine import slowness

from .storm import CONNECTIONS_MAX, Get, Race, answered_at_once, cancelled_after, certificates, counting, hurried, storm

Opens = Callable[[str, Policy, ssl.SSLContext | None], AbstractAsyncContextManager[tuple[Get, Get]]]
CALM = Timeout(60.0, name="calm")


@asynccontextmanager
async def by_httpx(url: str, part: Policy, trusted: ssl.SSLContext | None) -> AsyncIterator[tuple[Get, Get]]:
    """Requests inside `part`, and others that are left in peace, on the same connections."""
    limits = httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX)
    pool = ours.AsyncPool(limits=limits, verify=trusted or True)
    async with (
        httpx.AsyncClient(transport=ours.AsyncTransport(part, inner=pool), base_url=url, timeout=60.0) as client,
        httpx.AsyncClient(transport=ours.AsyncTransport(CALM, inner=pool), base_url=url, timeout=60.0) as calm,
    ):
        yield _getting(client, httpx.HTTPError, DeadlineExceeded), _getting(calm)


@asynccontextmanager
async def by_httpx2(url: str, part: Policy, trusted: ssl.SSLContext | None) -> AsyncIterator[tuple[Get, Get]]:
    limits = httpx2.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX)
    pool = ours2.AsyncPool(limits=limits, verify=trusted or True)
    async with (
        httpx2.AsyncClient(transport=ours2.AsyncTransport(part, inner=pool), base_url=url, timeout=60.0) as client,
        httpx2.AsyncClient(transport=ours2.AsyncTransport(CALM, inner=pool), base_url=url, timeout=60.0) as calm,
    ):
        yield _getting(client, httpx2.HTTPError, DeadlineExceeded), _getting(calm)


def _getting(client: Any, *expected: type[Exception]) -> Get:
    async def get(path: str) -> int:
        try:
            return int((await client.get(path)).status_code)
        except expected:
            return 0

    return get


def each(opens: Opens, *, tls: bool, loop: str) -> Any:
    is_for_each_time = (tls, loop) == (opens is by_httpx2, "asyncio")
    marks = () if is_for_each_time else pytest.mark.nightly
    return pytest.param(opens, tls, loop, id=f"{opens.__name__}-{'tls' if tls else 'plain'}-{loop}", marks=marks)


LOOPS = ("asyncio", "trio")
ALL = [each(opens, tls=tls, loop=loop) for opens in (by_httpx, by_httpx2) for tls in (False, True) for loop in LOOPS]


@pytest.mark.parametrize(("opens", "tls", "loop"), ALL)
def test_a_storm_of_cancellations_leaves_the_pool_whole(opens: Opens, tls: bool, loop: str) -> None:
    for part in (hurried(), Race()):
        weathered(opens, part, tls=tls, loop=loop, requests=100)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("opens", "tls", "loop"), ALL)
def test_ten_thousand_cancellations_leave_the_pool_whole(opens: Opens, tls: bool, loop: str) -> None:
    for seed in range(5):
        for part in (hurried(), Race()):
            assert weathered(opens, part, tls=tls, loop=loop, requests=1_000, seed=seed) < slowness()


def weathered(opens: Opens, part: Policy, *, tls: bool, loop: str, requests: int, seed: int = 1) -> float:
    """Let a storm pass, and look at the server's side; the seconds that sixteen requests at once take then."""
    shown, trusted = certificates() if tls else (None, None)

    async def run() -> tuple[int, int, float, int]:
        async with counting(shown) as server:
            async with opens(server.url, part, trusted) as (get, calm):
                await storm(get, seed=seed, requests=requests)
                tries = [await answered_at_once(calm) for _ in range(3)]
                whole = server.open
            answered = min(count for count, _ in tries)
            return answered, whole, min(took_s for _, took_s in tries), await server.left_alone()

    answered, whole, took_s, left = anyio.run(run, backend=loop)
    gc.collect()  # a socket without an owner warns when it is collected, and warnings are errors
    assert (answered, whole, left) == (16, CONNECTIONS_MAX, 0)
    return took_s


@pytest.mark.parametrize("opens", [by_httpx, by_httpx2])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_request_cancelled_while_dead_connections_are_closed_leaves_none_open(opens: Opens, loop: str) -> None:
    unused = ssl.create_default_context()

    async def run(turns: int) -> tuple[int, int]:
        async with counting() as server:
            async with opens(server.url, CALM, unused) as (get, _):
                await answered_at_once(get, CONNECTIONS_MAX)
                before = server.open
                await server.hang_up()
                await cancelled_after(turns, get, is_native=True)
            return before, await server.left_alone()

    # The first of these turns begin to close, the last ones find the request answered.
    left = [anyio.run(run, turns, backend=loop) for turns in (1, 2, 3, 5, 8, 13, 21)]
    gc.collect()
    assert left == [(CONNECTIONS_MAX, 0)] * len(left)
