"""An asyncio loop in virtual time: when nothing is left to do now, it is the next timer's time.

```
asyncio.Runner(loop_factory=VirtualLoop)            # a day of sleeping takes a millisecond
anyio_backend = ("asyncio", {"loop_factory": VirtualLoop})
```
"""

from __future__ import annotations

import asyncio
import random
import selectors
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any, NoReturn, TypeVarTuple, Unpack

from sdpatterns.testing.clock import VirtualClock

__all__ = ["Deadlock", "VirtualLoop"]


_Ts = TypeVarTuple("_Ts")


_TURNS_EACH_US = 1_000
_TURNS_MAX = 50_000
_TURNS_UNHEARD = 100
_ROUNDED_S = 1e-10
_LEAST_S = 1e-6


class Deadlock(RuntimeError):
    """In virtual time nothing would ever happen again: every task waits and no timer is set, or
    some task goes round and round without letting time pass.
    """


class _JumpingSelector(selectors.BaseSelector):
    """Never waits: where another would sleep, the clock jumps."""

    def __init__(self, clock: VirtualClock) -> None:
        self._inner = selectors.DefaultSelector()
        self._clock = clock
        self._turns = 0
        self._again_us = 0
        self._unheard = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = []
        # Only a signal could be heard here: its handler runs a few turns later, and the turns are a tenth cheaper.
        self._unheard += 1
        if timeout is None or self._unheard >= _TURNS_UNHEARD:
            self._unheard = 0
            ready = self._inner.select(0)
        if timeout is None and not ready:
            raise Deadlock("every task waits and no timer is set; a virtual loop hears neither threads nor sockets")
        self._count_turn()
        if timeout and not ready:
            # What rounding has left must pass too: one that waits for it again and again would never be done.
            self._clock.advance(timeout if timeout > _ROUNDED_S else _LEAST_S)
        return ready

    def _count_turn(self) -> None:
        self._turns += 1
        if self._clock.passed_us >= self._again_us:
            self._turns = 0
            self._again_us = self._clock.passed_us + 1000
        elif self._turns > _TURNS_MAX:
            self._turns = 0  # tasks that clean up have turns again
            raise Deadlock(f"{_TURNS_MAX} turns of the loop, and no time has passed: a task polls instead of waiting")
        elif self._turns % _TURNS_EACH_US == 0:
            # Code takes time too. A task that waits until a moment, and is woken before it by a rounding error, would
            # else wait for the rest again and again.
            self._clock.advance(_LEAST_S)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._inner.get_map()

    def close(self) -> None:
        self._inner.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a `VirtualClock`'s.

    It takes the clock that is installed, or else installs one of its own until it is closed. With a
    `seed` the tasks that could run next run in an order drawn from it, which no two seeds share;
    what asyncio promises about order (one callback after the other) stays as it is.

    **Keeps**: nothing ever waits for real; the same seed and program give the same run. Time passes while all tasks
    wait; and code takes time too, a microsecond for each 1,000 turns of the loop.
    **May fail**: `Deadlock` when everything waits without end; RuntimeError for real threads, sockets,
    pipes and processes, whose time cannot be jumped over.
    """

    def __init__(self, clock: VirtualClock | None = None, *, seed: int | None = None) -> None:
        found = clock or VirtualClock.installed()
        self._own = found is None
        self.clock = found or VirtualClock()
        self._chance = None if seed is None else random.Random(seed)
        self._thread: int | None = None
        super().__init__(_JumpingSelector(self.clock))
        self._clock_resolution = 1e-6
        if self._own:
            self.clock.install()

    def time(self) -> float:
        """The virtual clock's seconds."""
        return self.clock.monotonic()

    def close(self) -> None:
        """Close the loop, and take its own clock away again."""
        if not self.is_closed() and self._own:
            self.clock.uninstall()
        super().close()

    def run_forever(self) -> None:
        """As any loop; remembers its thread."""
        self._thread = threading.get_ident()
        super().run_forever()

    def _run_once(self) -> None:
        if self._chance is not None and len(self._ready) > 1:  # type: ignore[has-type]
            self._ready = _reordered(self._ready, self._chance)  # type: ignore[has-type]
        super()._run_once()  # type: ignore[misc]

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """From the loop's own thread only."""
        if self._thread is not None and threading.get_ident() != self._thread:
            _refuse("another thread called into it")
        return super().call_soon_threadsafe(callback, *args, context=context)


_REFUSED = {
    "a thread was asked for": ("run_in_executor", "getaddrinfo", "getnameinfo"),
    "a file descriptor was to be watched": ("add_reader", "add_writer"),
    "a connection was asked for": ("create_connection", "create_unix_connection", "create_datagram_endpoint"),
    "a server was asked for": ("create_server", "create_unix_server"),
    "a socket was used": ("sock_connect", "sock_accept", "sock_recv", "sock_recv_into", "sock_sendall"),
    "a pipe was to be watched": ("connect_read_pipe", "connect_write_pipe"),
    "a process was to be started": ("subprocess_exec", "subprocess_shell"),
}


def _refuse(what: str) -> NoReturn:
    raise RuntimeError(f"{what} in a virtual loop, which cannot jump over real time: use a plain loop")


def _refusal(what: str) -> Callable[..., NoReturn]:
    def refused(self: VirtualLoop, *args: object, **kwargs: object) -> NoReturn:
        _refuse(what)

    return refused


for _what, _names in _REFUSED.items():
    for _name in _names:
        setattr(VirtualLoop, _name, _refusal(_what))


def _task_of(handle: asyncio.Handle) -> asyncio.Task[Any] | None:
    owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio looks there too
    return owner if isinstance(owner, asyncio.Task) else None


def _reordered(ready: deque[asyncio.Handle], chance: random.Random) -> deque[asyncio.Handle]:
    """The same handles; the steps of tasks change places among themselves, all else stays."""
    places = [place for place, handle in enumerate(ready) if _task_of(handle) is not None]
    handles = list(ready)
    drawn = places.copy()
    chance.shuffle(drawn)
    for place, source in zip(places, drawn, strict=True):
        handles[place] = ready[source]
    return deque(handles)
