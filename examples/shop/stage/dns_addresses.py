"""Where the contexts of other deployables are in pods: the addresses behind one DNS name for each deployable."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

from shop.background import alongside
from shop.settings import DEPLOYABLES, PORTS

_log = logging.getLogger("shop.dns_addresses")
LOOKS_S = 1.0
FIRST_LOOK_MAX_S = 3.0  # a name without an answer is no reason not to start
Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]


async def resolve(name: str) -> Sequence[str]:
    """The IPv4 addresses of a name; OSError where there are none, or no name server answers."""
    found = await asyncio.get_running_loop().getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    return [str(place[0]) for *_, place in found]


class DnsAddresses(Mapping[str, tuple[str, ...]]):
    """The addresses of contexts, one for each replica: those behind the DNS name of their deployable.

    Keeps: each name is asked for again every second, by itself, so that one that hangs delays no other. Where
    there is no answer the last one stays, and a replica that has gone refuses its callers; before the first
    answer a context's address is the name itself. A list that has not changed is the same object.
    """

    def __init__(self, deployables: Iterable[str], resolve: Resolve = resolve) -> None:
        self._names = tuple(deployables)
        self._resolve = resolve
        self._found = {name: [name] for name in self._names}
        self._urls = {context: url for name in self._names for context, url in self._of(name)}

    def __getitem__(self, context: str) -> tuple[str, ...]:
        return self._urls[context]

    def __iter__(self) -> Iterator[str]:
        return iter(self._urls)

    def __len__(self) -> int:
        return len(self._urls)

    def _of(self, name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        for context in DEPLOYABLES[name]:
            yield context, tuple(f"http://{host}:{PORTS[context]}" for host in self._found[name])

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Kept up to date during the block, which begins once all names have been asked for, or after three seconds."""
        asked = {name: asyncio.Event() for name in self._names}
        async with alongside(*(self._keep(name, event) for name, event in asked.items())):
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_LOOK_MAX_S):
                    await asyncio.gather(*(event.wait() for event in asked.values()))
            yield

    async def _keep(self, name: str, asked: asyncio.Event) -> None:
        while True:
            await self.look(name)
            asked.set()
            await asyncio.sleep(LOOKS_S)

    async def look(self, name: str) -> None:
        """Ask once where a deployable's replicas are."""
        try:
            hosts = sorted(set(await self._resolve(name)))
        except OSError:
            return
        if hosts and hosts != self._found[name]:
            _log.info("replicas changed", extra={"of": name, "hosts": hosts})
            self._found[name] = hosts
            self._urls.update(self._of(name))
