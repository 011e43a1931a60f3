"""Wake the loop of a service: when its topic was notified, and when it is to stop. Once for all services here."""

from __future__ import annotations

from collections.abc import Callable

from sdpatterns.core.runtime import BLOCKING, Waiter, current
from sdpatterns.errors import BackendError
from sdpatterns.ports.signals import SignalBus

__all__ = ["wake_on_signals", "wake_on_stop"]

_PAUSE_FIRST_S = 0.05
_LISTEN_S = 0.25


async def wake_on_signals(
    signals: SignalBus, topic: str, wake: Callable[[], None], is_over: Callable[[], bool], pause_max_s: float
) -> None:
    """Wake when the topic is notified. Where the signals are away, the loop still looks by itself."""
    pause_s = _PAUSE_FIRST_S
    while not is_over():
        try:
            async with signals.subscribe(topic) as subscription:
                pause_s = _PAUSE_FIRST_S
                wake()
                while not is_over():
                    if await subscription.wait(_LISTEN_S if current() is BLOCKING else None):
                        wake()
        except BackendError:
            await current().sleep(pause_s)
            pause_s = min(2 * pause_s, pause_max_s)


async def wake_on_stop(stop: Waiter, stopped: Callable[[], None], is_over: Callable[[], bool]) -> None:
    """Call `stopped` when the service is to stop."""
    # In a thread nothing can cancel the wait, so that it looks again.
    while not is_over() and not await stop.wait(_LISTEN_S if current() is BLOCKING else None):
        pass
    stopped()
