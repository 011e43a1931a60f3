"""One pod of many: a deployable on fixed ports, told by its environment, ended by SIGTERM.

Kubernetes starts it, asks whether it is ready, and tells it to end. From then on it says that it is not ready, goes
on to answer for a moment, finishes what is in flight and ends. A start that fails says why in one line and
ends with 1, and Kubernetes tries again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from shop.background import together
from shop.contexts import START_ORDER, running
from shop.logs import log_to_stdout
from shop.serving import Listener, Server, answering, bind, ends_s
from shop.settings import DEPLOYABLES, PORTS, PUBLIC, PUBLIC_PORT
from shop.stage.dns_addresses import DnsAddresses
from shop.stage.fleet_servers import databases_there, make_databases, start_alone
from shop.stage.pod_settings import PodSettings, ServerSettings, called_by, from_environment, needed_by
from shop.stage.stop_signals import stop_signal

_log = logging.getLogger("shop.pod")
_LATE_S = 5.0  # what a busy machine may add to the time that an end takes


async def serve_pod(name: str) -> int:
    """Run a deployable until the process is told to end; returns the exit code."""
    told = from_environment(PodSettings)
    with stop_signal() as stop, log_to_stdout():
        opened = asyncio.Event()
        serving = asyncio.create_task(_serve(name, told, stop, opened))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not opened.is_set():  # it is still about to start, or has failed to
            serving.cancel()
        elif not await ended_within(serving, told.drain_delay_s + max(map(ends_s, DEPLOYABLES[name])) + _LATE_S):
            return 1
        with suppress(asyncio.CancelledError):
            await serving
    return 0


async def ended_within(serving: asyncio.Task[None], within_s: float) -> bool:
    """Whether a pod has ended in time. One that has not says at what it waits: a SIGKILL would leave no trace of it."""
    _, late = await asyncio.wait((serving,), timeout=within_s)
    if late:
        waiting = [str(task.get_coro()) for task in asyncio.all_tasks()]
        _log.error("cut off", extra={"after_s": within_s, "waiting": waiting})
        serving.cancel()
    return not late


async def _serve(name: str, told: PodSettings, stop: asyncio.Event, opened: asyncio.Event) -> None:
    async with AsyncExitStack() as stack:
        doors = {context: [stack.enter_context(door)] for context, door in _doors(name, told.host).items()}
        if name == PUBLIC:
            doors[PUBLIC].append(stack.enter_context(bind(PUBLIC_PORT, host=told.host)))
        servers = await _open(name, told, doors, stack)
        opened.set()
        _log.info("open", extra={"deployable": name, "version": told.version})
        await stop.wait()
        _log.info("leaving", extra={"deployable": name})
        for server in servers.values():
            server.leave()
        await asyncio.sleep(told.drain_delay_s)
        await together(*(server.finished() for server in servers.values()))
    _log.info("closed", extra={"deployable": name})


def _doors(name: str, host: str) -> dict[str, Listener]:
    return {context: bind(PORTS[context], host=host) for context in DEPLOYABLES[name]}


async def _open(
    name: str, told: PodSettings, doors: dict[str, list[Listener]], stack: AsyncExitStack
) -> dict[str, Server]:
    """Open the contexts of a deployable, one replica at a time: the first one makes tables and fills them."""
    addresses = DnsAddresses(called_by(name))
    settings = told.settings(name, addresses)
    await stack.enter_async_context(addresses.kept())
    servers: dict[str, Server] = {}
    async with _turn(name, told):
        for context in (context for context in START_ORDER if context in doors):
            app = await stack.enter_async_context(running(context, settings))
            servers[context] = Server(context, app, doors[context])
    await stack.enter_async_context(answering(servers))
    return servers


@asynccontextmanager
async def _turn(name: str, told: PodSettings) -> AsyncIterator[None]:
    """The turn of this replica to open, once all databases are there; a deployable without data needs none."""
    if "postgres_url" in needed_by(name):
        fleet = told.fleet()
        await databases_there(fleet, told.start_wait_s)
        async with start_alone(fleet, name):
            yield
    else:
        yield


async def make_schema() -> int:
    """Make the databases that are not there yet; returns the exit code. Tables are made by the pods themselves."""
    told = from_environment(ServerSettings)
    with log_to_stdout():
        made = await make_databases(told.fleet("postgres_url"), told.start_wait_s)
    print(f"Databases made: {', '.join(made) or 'none, all are there'}", flush=True)
    return 0
