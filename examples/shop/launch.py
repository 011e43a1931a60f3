"""The whole shop in one process: every service on its own port, started and drained in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from shop.contexts import START_ORDER, running
from shop.logs import log_to
from shop.serving import Listener, Server, address, answering, bind
from shop.settings import CONTEXTS, PUBLIC, WATCHING, Settings, wall_clock_us
from shop.stage.data_lock import locked


@asynccontextmanager
async def shop(
    *, port: int, data_dir: Path, seed: int, visitors: int = 0, now_us: Callable[[], int] = wall_clock_us
) -> AsyncIterator[Settings]:
    """The shop, answering on all its ports during the block; StartFailed says why it cannot."""
    async with AsyncExitStack() as stack:
        public, listeners = stack.enter_context(listening(port))
        stack.enter_context(locked(data_dir))
        stack.enter_context(log_to(data_dir / "shop.log"))
        addresses = {name: (address(listener),) for name, listener in listeners.items()}
        settings = Settings(
            data_dir=data_dir,
            seed=seed,
            public=address(public),
            addresses=addresses,
            visitors=visitors,
            now_us=now_us,
        )
        doors = {name: [listener] for name, listener in listeners.items()}
        doors[PUBLIC].append(public)
        # The control room asks all others all the time: it begins when they answer, and ends before they close.
        for names in ([name for name in START_ORDER if name != WATCHING], [WATCHING]):
            apps = {name: await stack.enter_async_context(running(name, settings)) for name in names}
            servers = {name: Server(name, app, doors[name]) for name, app in apps.items()}
            await stack.enter_async_context(answering(servers))
        yield settings


@contextmanager
def listening(port: int) -> Iterator[tuple[Listener, dict[str, Listener]]]:
    """The public socket exactly where it was asked for, and one for each service next to it if possible."""
    with ExitStack() as stack:
        public = stack.enter_context(bind(port))
        base = public.getsockname()[1]
        yield (
            public,
            {name: stack.enter_context(bind(base + offset, or_any=True)) for offset, name in enumerate(CONTEXTS, 1)},
        )
