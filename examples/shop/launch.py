"""The whole shop in one process: every service on its own port, started and drained in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from shop.journal import journal
from shop.place import CONTEXTS, Place, wall_clock_us
from shop.serving import Listener, Server, address, answering, bind
from shop.taking import owned
from shop.wirings import START_ORDER, running


@asynccontextmanager
async def shop(
    *, port: int, data_dir: Path, seed: int, now_us: Callable[[], int] = wall_clock_us
) -> AsyncIterator[Place]:
    """The shop, answering on all its ports during the block; StartFailed says why it cannot."""
    async with AsyncExitStack() as stack:
        listeners = stack.enter_context(listening(port))
        stack.enter_context(owned(data_dir))
        stack.enter_context(journal(data_dir / "shop.log"))
        addresses = {name: (address(listener),) for name, listener in listeners.items()}
        place = Place(data_dir=data_dir, seed=seed, addresses=addresses, now_us=now_us)
        apps = {name: await stack.enter_async_context(running(name, place)) for name in START_ORDER}
        servers = {name: Server(name, app, [listeners[name]]) for name, app in apps.items()}
        await stack.enter_async_context(answering(servers))
        yield place


@contextmanager
def listening(port: int) -> Iterator[dict[str, Listener]]:
    """A socket for each service: the gateway's exactly where it was asked for, the others next to it if possible."""
    listeners: dict[str, Listener] = {}
    try:
        listeners[CONTEXTS[0]] = bind(port)
        base = listeners[CONTEXTS[0]].getsockname()[1]
        for offset, name in enumerate(CONTEXTS[1:], 1):
            listeners[name] = bind(base + offset, or_any=True)
        yield listeners
    finally:
        for listener in listeners.values():
            listener.close()
