"""The whole shop in one process: every service on its own port, started and drained in order."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from starlette.types import ASGIApp

from shop.cart.wiring import running as cart
from shop.catalog.wiring import running as catalog
from shop.control.wiring import running as control
from shop.failures import StartFailed
from shop.gateway.wiring import running as gateway
from shop.inventory.wiring import running as inventory
from shop.journal import journal
from shop.ordering.wiring import running as ordering
from shop.payments.wiring import running as payments
from shop.place import CONTEXTS, Place, wall_clock_us
from shop.psp.wiring import running as psp
from shop.reviews.wiring import running as reviews
from shop.serving import Server, address, bind

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
Wiring = Callable[[Place], AbstractAsyncContextManager[ASGIApp]]

_WIRINGS: dict[str, Wiring] = {
    "psp": psp,
    "catalog": catalog,
    "reviews": reviews,
    "inventory": inventory,
    "cart": cart,
    "payments": payments,
    "ordering": ordering,
    "control": control,
    "gateway": gateway,
}
_DRAIN_S = {"gateway": 10, "psp": 1}


@asynccontextmanager
async def shop(
    *, port: int, data_dir: Path, seed: int, now_us: Callable[[], int] = wall_clock_us
) -> AsyncIterator[Place]:
    """The shop, answering on all its ports during the block; StartFailed says why it cannot."""
    async with AsyncExitStack() as stack:
        listeners = stack.enter_context(_listening(port))
        stack.enter_context(_owned(data_dir))
        stack.enter_context(journal(data_dir / "shop.log"))
        addresses = {name: (address(listener),) for name, listener in listeners.items()}
        place = Place(data_dir=data_dir, seed=seed, addresses=addresses, now_us=now_us)
        apps = {name: await stack.enter_async_context(wiring(place)) for name, wiring in _WIRINGS.items()}
        servers = {name: Server(app, listeners[name], _DRAIN_S.get(name, 5)) for name, app in apps.items()}
        await stack.enter_async_context(_answering(servers))
        yield place


@asynccontextmanager
async def _answering(servers: Mapping[str, Server]) -> AsyncIterator[None]:
    """All servers, closed public door first, so that a checkout in flight still finds everybody it needs."""
    try:
        await asyncio.gather(*(server.open() for server in servers.values()))
        yield
    finally:
        await servers["gateway"].drain()
        await asyncio.gather(*(server.drain() for server in servers.values()))


@contextmanager
def _listening(port: int) -> Iterator[dict[str, socket.socket]]:
    """A socket for each service: the gateway's exactly where it was asked for, the others next to it if possible."""
    listeners: dict[str, socket.socket] = {}
    try:
        listeners[CONTEXTS[0]] = bind(port)
        base = listeners[CONTEXTS[0]].getsockname()[1]
        for offset, name in enumerate(CONTEXTS[1:], 1):
            listeners[name] = bind(base + offset, or_any=True)
        yield listeners
    finally:
        for listener in listeners.values():
            listener.close()


@contextmanager
def _owned(data_dir: Path) -> Iterator[None]:
    """The data directory, made if need be and ours alone while the shop runs."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # names and addresses are nobody else's
        lock = (data_dir / "lock").open("w")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StartFailed(
            f"cannot use the data directory {data_dir}: {reason}; choose another with --data-dir"
        ) from None
    with lock:
        if not _lock(lock.fileno()):
            raise StartFailed(f"another shop is running on {data_dir}; stop it or choose another with --data-dir")
        yield


def _lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # not on this platform; SQLite's own locks still keep the data whole
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def told_to_stop() -> Iterator[asyncio.Event]:
    """An event set by the first Ctrl-C or SIGTERM; the next one ends the process the hard way."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def note(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop.set)

    for number in _SIGNALS:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
