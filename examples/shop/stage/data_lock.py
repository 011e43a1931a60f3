"""The lock on the data directory: one shop at a time runs on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shop.failures import StartFailed


@contextmanager
def locked(data_dir: Path) -> Iterator[int]:
    """The data directory, created if it is missing, and locked while the block runs; gives the lock's descriptor.

    A process that inherits the descriptor keeps the lock for as long as it lives.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # names and addresses are private
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
