"""What a retry does to a caller who gives up, and where it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import backoff
import hyx.retry
import pyresilience
import stamina
import tenacity
import trio

from sdpatterns import Retry

Call = Callable[[], Awaitable[Any]]
Protect = Callable[[Call], Call]

# Each library's way of saying "repeat whatever fails", with a pause of a few milliseconds.
MAKERS: dict[str, Callable[[], Protect]] = {
    "sdpatterns": lambda: Retry(on=lambda _error: True, attempts_max=3, base_s=0.005, name="claims").protect,
    "tenacity": lambda: tenacity.retry(
        retry=tenacity.retry_if_not_exception_type(ValueError),
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_fixed(0.005),
    ),
    "stamina": lambda: stamina.retry(on=Exception, attempts=3, wait_initial=0.005, wait_max=0.01),
    "backoff": lambda: backoff.on_exception(backoff.constant, Exception, max_tries=3, interval=0.005),
    "hyx": lambda: hyx.retry.retry(on=Exception, attempts=3, backoff=0.005),
    "pyresilience": lambda: pyresilience.resilient(retry=pyresilience.RetryConfig(max_attempts=3, delay=0.005)),
}


async def cancelled(make: Callable[[], Protect]) -> str:
    """How many attempts follow after the caller was cancelled in the first one."""
    attempts = 0

    async def slow() -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0.05)

    task = asyncio.ensure_future(make()(slow)())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return f"{attempts - 1}"


async def under_trio(make: Callable[[], Protect]) -> str:
    """Whether the second attempt succeeds under trio."""
    attempts = 0

    async def flaky() -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ConnectionError
        return "fine"

    protected = make()(flaky)

    def run() -> str:
        try:
            return "yes" if trio.run(protected) == "fine" else "no"
        except BaseException as error:  # noqa: BLE001 - whatever a foreign loop makes of it
            return f"no: {type(error).__name__}"

    return await asyncio.to_thread(run)
