"""The process of one replica, and the one that comes after it when it dies."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from socket import socketpair
from typing import Any

from shop.background import alongside
from shop.failures import StartFailed
from shop.serving import HOST, Listener, bind, ends_s
from shop.stage.replica import READY, Plan

_START_MAX_S = 60.0
_LIVED_S = 10.0  # a process that lived as long is started again at once
_PAUSE_S, _PAUSE_MAX_S = 0.2, 5.0
_ENDING_MAX_S = 5.0  # beyond the time to drain


class Worker:
    """One replica of a deployable, for as long as it is wanted.

    Keeps: a process that ends is followed by another on the same ports, after a pause that grows while
    none lives long. Until that one is ready its ports are closed: callers are refused and go elsewhere. The public
    port is one socket that all gateways accept from: what waits there when one dies, another takes.
    """

    def __init__(self, plan: Plan, lock: int, public: Listener | None, say: Callable[[str], None]) -> None:
        self.deployable, self.replica = plan.deployable, plan.replica
        self.on_start: Callable[[], None] = lambda: None
        self.on_request: Callable[[Any], None] = lambda _request: None
        self._plan = plan
        self._lock = lock
        self._public = public
        self._say = say
        self._ports: dict[str, int] = {}
        self._listeners: dict[str, Listener] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._line: asyncio.StreamWriter | None = None
        self._requests: asyncio.StreamReader | None = None
        self._starts = 0
        self._is_replaced = False

    @property
    def name(self) -> str:
        """As people call it."""
        return f"{self.deployable} {self.replica}"

    def view(self) -> dict[str, Any]:
        """What is to be known of it from outside."""
        pid = None if self._process is None else self._process.pid
        addresses = {context: f"http://{HOST}:{port}" for context, port in self._ports.items()}
        where = {"deployable": self.deployable, "replica": self.replica, "addresses": addresses}
        return {**where, "pid": pid, "starts": self._starts, "release": self._plan.release["version"]}

    def listen_at(self, context: str, listener: Listener) -> None:
        """Give a context of this replica its own port, from now on."""
        self._listeners[context] = listener
        self._ports[context] = listener.getsockname()[1]

    def close_listeners(self) -> None:
        """Close what was not handed down; the port stays this replica's."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners = {}

    async def open(self) -> None:
        """Start the process and wait until it is ready; StartFailed gives its words."""
        ours, theirs = socketpair()
        reader, self._line = await asyncio.open_connection(sock=ours)
        with theirs:
            for context, port in self._ports.items():
                if context not in self._listeners:
                    # What waited for a process that takes seconds to start would be answered too late.
                    self._listeners[context] = bind(port, listens=False)
            plan = self._handed_down()
            try:
                self._process = await self._start(theirs.fileno(), plan)
            finally:
                self.close_listeners()
        self._line.write(plan.encode())
        await self._ready(reader)
        self._requests = reader
        self._starts += 1
        self.on_start()

    def _handed_down(self) -> Plan:
        listeners = {context: [listener.fileno()] for context, listener in self._listeners.items()}
        if self._public is not None:
            listeners[self.deployable].append(self._public.fileno())
        return replace(self._plan, listeners=listeners)

    async def _start(self, line: int, plan: Plan) -> asyncio.subprocess.Process:
        sockets = [number for numbers in plan.listeners.values() for number in numbers]
        words = (sys.executable, "-m", "shop", "serve", self.deployable, str(self.replica), str(line))
        return await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=(line, self._lock, *sockets),  # with the lock: until the last has ended the data is not free
            start_new_session=True,  # Ctrl-C is for the supervisor, who then ends them in order
        )

    async def _ready(self, reader: asyncio.StreamReader) -> None:
        try:
            async with asyncio.timeout(_START_MAX_S):
                answer = (await reader.readline()).decode().strip()
        except TimeoutError:
            answer = f"{self.name} is not ready after {_START_MAX_S:g} s"
        if answer != READY:
            await self._end(within_s=_ENDING_MAX_S)
            raise StartFailed(answer or f"{self.name} ended before it was ready; see {self._plan.log}")

    async def keep(self) -> None:
        """Start the process again whenever it ends, until this is cancelled."""
        pause_s = 0.0
        while self._process is not None:
            began = time.monotonic()
            async with alongside(self._hear()):
                code = await self._process.wait()
            lived = time.monotonic() - began > _LIVED_S
            wanted, self._is_replaced = self._is_replaced, False
            pause_s = 0.0 if lived or wanted else min(_PAUSE_MAX_S, max(_PAUSE_S, 2 * pause_s))
            how = f"makes way for release {self._plan.release['version']}" if wanted else _how(code)
            self._say(f"{self.name} (pid {self._process.pid}) {how}; starting it again")
            await asyncio.sleep(pause_s)
            try:
                await self.open()
            except StartFailed as failure:
                self._say(f"{self.name} cannot start: {failure}")

    async def _hear(self) -> None:
        """Pass on what the process asks of its supervisor, until it ends."""
        while self._requests is not None and (line := await self._requests.readline()):
            self.on_request(json.loads(line))

    async def release(self, release: Mapping[str, Any]) -> None:
        """Have a process of another release in place of this one, which finishes what is in flight first."""
        self._plan = replace(self._plan, release=release)
        self._is_replaced = True
        await self.drain()

    async def drain(self) -> None:
        """Let the process finish what is in flight, and end it."""
        within_s = max(ends_s(context) for context in self._ports) + _ENDING_MAX_S
        await self._end(within_s=within_s)

    async def _end(self, *, within_s: float) -> None:
        """Close the line, which ends the process; the hard way when it takes too long."""
        if self._line is not None:
            self._line.close()
        if self._process is None:
            return
        try:
            async with asyncio.timeout(within_s):
                await self._process.wait()
        except TimeoutError:
            self._say(f"{self.name} (pid {self._process.pid}) does not end; killing it")
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


def _how(code: int) -> str:
    """The end of a process in words."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
