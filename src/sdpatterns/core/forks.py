"""Locks and resources that survive a fork.

A forked child has a copy of the parent's memory and only one of its threads, the one that forked. A lock
that another thread held stays locked in the child, because the thread that would release it is not there.
So this module is the only place that makes locks which outlive a call:

```
before the fork     owners that `prepare` do so (SQLite closes its file), then every lock is taken
in the parent       the locks are released, and the owners go on
in the child        the locks are made free again, and every owner drops what belongs to the parent
```

Taking the locks first is what keeps the state behind them whole: no other thread is in the middle of a
change while the memory is copied. `with lock` costs nothing more, because the lock is a plain one.
"""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time
import weakref
from collections.abc import Iterable
from typing import Any, Protocol

__all__ = [
    "ForkAware",
    "LockOwner",
    "PreparesForFork",
    "drop_in_child",
    "new_lock",
    "prepare_for_fork",
    "take_locks_of",
]

_PATIENCE_S = 0.2
"""How long a fork waits for all locks together; a thread that keeps one for longer is stuck or waits for us."""


class ForkAware(Protocol):
    """Holds something that a forked child must not use: connections, threads, waiters."""

    def after_fork_in_child(self) -> None:
        """Drop what belongs to the parent, without closing it. Only this thread runs; it must not wait or raise."""


class PreparesForFork(Protocol):
    """Has to reach a state that can be copied before the process forks."""

    def before_fork(self) -> None:
        """Reach that state, within a bound, and stay there."""

    def after_fork_in_parent(self) -> None:
        """Go on. It is not called in the child."""


class LockOwner(Protocol):
    """Has so many locks that registering each of them would cost more than they do."""

    def locks(self) -> Iterable[threading.Lock]:
        """All of them."""
        ...


_LOCKS: weakref.WeakSet[threading.Lock] = weakref.WeakSet()
_LOCK_OWNERS: weakref.WeakSet[LockOwner] = weakref.WeakSet()
_PREPARING: weakref.WeakSet[PreparesForFork] = weakref.WeakSet()
_DROPPING: weakref.WeakSet[ForkAware] = weakref.WeakSet()

_taken: list[threading.Lock] = []
_prepared: list[PreparesForFork] = []
_collecting: list[bool] = []
"""Whether the garbage collector was on before the fork."""


def new_lock() -> threading.Lock:
    """A plain lock that is free in a forked child. Hold it for a short piece of code that waits for nothing."""
    lock = threading.Lock()
    _LOCKS.add(lock)
    return lock


def take_locks_of(owner: LockOwner) -> None:
    """Treat all locks of `owner` as if `new_lock` had made them."""
    _LOCK_OWNERS.add(owner)


def prepare_for_fork(owner: PreparesForFork) -> None:
    """Have `owner` prepare before each fork, before any lock is taken, so that its work can end."""
    _PREPARING.add(owner)


def drop_in_child(owner: ForkAware) -> None:
    """Have `owner` drop in each forked child what belongs to the parent."""
    _DROPPING.add(owner)


def _members(registry: weakref.WeakSet[Any]) -> list[Any]:
    while True:
        try:
            return list(registry)
        except RuntimeError:  # another thread registered something meanwhile
            continue


def _locks() -> list[threading.Lock]:
    owned = (owner.locks() for owner in _members(_LOCK_OWNERS))
    return list(itertools.chain(_members(_LOCKS), *owned))


def _before() -> None:
    # A finalizer that runs in this thread now may wait for what the fork holds, and would wait without end.
    _collecting.append(gc.isenabled())
    gc.disable()
    for owner in _members(_PREPARING):
        owner.before_fork()
        _prepared.append(owner)
    until = time.monotonic() + _PATIENCE_S
    # It gives up on a lock that this thread itself holds, or whose holder waits for one that we have: the
    # child then gets the lock free, and perhaps half a change.
    _taken.extend(lock for lock in _locks() if lock.acquire(timeout=max(0.0, until - time.monotonic())))


def _in_parent() -> None:
    while _taken:
        _taken.pop().release()
    while _prepared:
        _prepared.pop().after_fork_in_parent()
    _collect_again()


def _in_child() -> None:
    _taken.clear()
    _prepared.clear()
    for lock in _locks():
        _make_free(lock)
    for owner in _members(_DROPPING):
        owner.after_fork_in_child()
    _collect_again()


def _collect_again() -> None:
    if _collecting.pop():
        gc.enable()


def _make_free(lock: Any) -> None:
    # In place, because fast paths keep a reference to the lock. `threading` and `logging` free theirs so too.
    reinit = getattr(lock, "_at_fork_reinit", None)
    if reinit is not None:
        reinit()
    elif lock.locked():
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
