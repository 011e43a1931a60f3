"""One process of many: a deployable on the sockets that its supervisor hands down.

A socket pair, the line, joins the two. The supervisor sends a plan; the process answers `ready`, or why it
cannot start. The control room may then ask for replicas of another release, one line each. When the line closes, on
purpose or because the supervisor is gone, the process finishes what is in flight and ends. So nothing outlives its
supervisor, however that ends.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from shop.contexts import START_ORDER, running
from shop.failures import StartFailed
from shop.logs import log_to
from shop.serving import Server, adopt, answering
from shop.settings import FleetServers, Settings
from shop.stage.release import Release, ReleaseMiddleware
from shop.stage.stop_signals import stop_signal

READY = "ready"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What the supervisor tells a process."""

    data_dir: str
    seed: int
    public: str
    fleet: Mapping[str, str] | None
    visitors: int = 0
    release: Mapping[str, Any] = field(default_factory=lambda: asdict(Release()))
    deployable: str = ""
    replica: int = 1
    addresses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    listeners: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """The descriptors of the listening sockets of each context that runs here."""

    def encode(self) -> bytes:
        """The plan as one line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    def settings(self) -> Settings:
        """The world as the contexts of this process are told of it."""
        addresses = {name: tuple(urls) for name, urls in self.addresses.items()}
        fleet = FleetServers(**self.fleet) if self.fleet else None
        return Settings(
            data_dir=Path(self.data_dir),
            seed=self.seed,
            public=self.public,
            addresses=addresses,
            own={name: urls[self.replica - 1] for name, urls in addresses.items() if name in self.listeners},
            replica=str(self.replica),
            fleet=fleet,
            visitors=self.visitors,
        )

    @property
    def log(self) -> Path:
        """Where the process logs: several cannot share a file that is rotated."""
        return Path(self.data_dir) / f"shop.{self.deployable}.{self.replica}.log"


async def serve(descriptor: int) -> int:
    """Run what the plan says until the line closes or it is told to stop; returns the exit code."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
    try:
        with stop_signal() as stop:
            plan = Plan(**json.loads(await reader.readline()))
            async with _open(plan, writer):
                writer.write(f"{READY}\n".encode())
                await _first(reader.read(), stop.wait())
    except StartFailed as failure:
        writer.write(f"{failure}\n".encode())
        return 1
    finally:
        writer.close()
    return 0


@asynccontextmanager
async def _open(plan: Plan, line: asyncio.StreamWriter) -> AsyncIterator[None]:
    settings = replace(plan.settings(), replaced=partial(_ask_supervisor, line))
    async with AsyncExitStack() as stack:
        stack.enter_context(log_to(plan.log))
        servers: dict[str, Server] = {}
        for name in START_ORDER:
            if name in plan.listeners:
                app = await stack.enter_async_context(running(name, settings))
                sockets = [stack.enter_context(adopt(number)) for number in plan.listeners[name]]
                servers[name] = Server(name, ReleaseMiddleware(app, Release(**plan.release)), sockets)
        await stack.enter_async_context(answering(servers))
        yield


def _ask_supervisor(line: asyncio.StreamWriter, deployable: str, replica: int, release: Release) -> None:
    """Ask for a replica of another release in place of the one that runs."""
    line.write(json.dumps({"deployable": deployable, "replica": replica, "release": asdict(release)}).encode() + b"\n")


async def _first(*waits: object) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
