"""Taking the data directory for ourselves, and being told to give it up."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shop.failures import StartFailed

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def owned(data_dir: Path) -> Iterator[int]:
    """The data directory, made if need be and ours alone while the shop runs; gives the lock's descriptor.

    A process that inherits the descriptor keeps the lock for as long as it lives.
    """
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
        yield lock.fileno()


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
