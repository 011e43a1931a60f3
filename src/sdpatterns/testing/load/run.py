"""Requests that start when they are due."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from sdpatterns.core.ranges import whole
from sdpatterns.testing.load.profile import Profile
from sdpatterns.testing.load.result import LoadResult

__all__ = ["run_load"]


async def run_load(
    request: Callable[[int], Awaitable[Any]],
    profile: Profile,
    *,
    seed: int | None = 0,
    in_flight_max: int = 1_000,
) -> LoadResult:
    """Call `request(0)`, `request(1)`, … when each is due, and measure how long each took from then on.

    ```python
    import anyio
    from sdpatterns.testing.load import Criteria, Profile, LoadStage, run_load

    async def request(number: int) -> None:
        await anyio.sleep(0.001)

    result = anyio.run(run_load, request, Profile(LoadStage(for_s=0.2, per_s=100)))
    assert result.broken(Criteria(failed_max=0.0)) == []
    ```

    An open loop: users do not know each other, and the next one comes also while the service is stuck. A closed loop,
    in which each of N clients waits for its answer before it asks again, asks less of a service that is slow, and
    leaves out just the latencies that matter ("coordinated omission"). A request that raises an exception has failed.

    At most `in_flight_max` run at the same time. What is due beyond that waits, and its latency includes the wait.
    Works under asyncio and trio. Cancelled, it cancels the requests and gives no result.

    Source: Tene, "How NOT to Measure Latency" (2013); Schroeder, Wierman, Harchol-Balter, "Open Versus Closed: A
    Cautionary Tale" (2006).
    """
    whole("in_flight_max", in_flight_max, 1)
    result, places = LoadResult(), anyio.Semaphore(in_flight_max)
    began_s = anyio.current_time()

    async def one(number: int, due_s: float) -> None:
        error: Exception | None = None
        try:
            await request(number)
        except Exception as raised:  # noqa: BLE001 - whatever a request raises, it has failed and is counted
            error = raised
        finally:
            places.release()
        result.add(anyio.current_time() - due_s, error)

    async with anyio.create_task_group() as group:
        for number, due in enumerate(profile.due_s(seed)):
            due_s = began_s + due
            await anyio.sleep_until(due_s)
            await places.acquire()
            result.lag_max_s = max(result.lag_max_s, anyio.current_time() - due_s)
            group.start_soon(one, number, due_s)
    result.took_s = max(profile.for_s, anyio.current_time() - began_s)
    return result
