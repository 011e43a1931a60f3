"""A bound on what a thread waits for from psycopg, whose calls take none.

```
alarm --(time is up)--> shut the socket down --> psycopg, in the waiting thread, sees the end and raises
```
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from sdpatterns.core.runtime.alarm import ALARM

__all__ = ["Bound"]

T = TypeVar("T")


class Bound:
    """Ends a block with `TimeoutError` after `timeout_s`; None bounds nothing.

    **Keeps**: what is waited for with `made`, or on the connection given to `watch`, ends with the
    block. **Costs**: a few microseconds; `made` a thread, because a connection that is not there yet
    has no socket to shut down.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._until = 0.0
        self._socket: socket.socket | None = None
        self._is_over = False

    def __enter__(self) -> Self:
        if self._timeout_s is not None:
            self._until = time.monotonic() + self._timeout_s
            ALARM.put_on(self._ring, self._timeout_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timeout_s is None:
            return
        ALARM.take_off(self._ring)
        if self._socket is not None:
            self._socket.close()
        if self._is_over and isinstance(error, Exception):
            raise TimeoutError(f"no answer within {self._timeout_s:g} s") from error

    def watch(self, driver: Any) -> None:
        """Cut this psycopg connection when time is up."""
        if self._timeout_s is None:
            return
        # A descriptor of its own: the connection's may be closed, and its number be another's, by then.
        self._socket = socket.socket(fileno=os.dup(driver.pgconn.socket))
        if self._is_over:
            self._ring()

    def made(self, make: Callable[[], T], drop: Callable[[T], object]) -> T:
        """What `make` gives; `drop` gets it instead when it comes too late."""
        return make() if self._timeout_s is None else _Making(make, drop).result(self._until)

    def _ring(self) -> None:
        self._is_over = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # gone already


class _Making:
    """Something that a thread of its own makes, for as long as a caller waits for it."""

    def __init__(self, make: Callable[[], T], drop: Callable[[T], object]) -> None:
        self._make: Callable[[], Any] = make
        self._drop: Callable[[Any], object] = drop
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._is_wanted = True
        self._result: Any = None
        self._error: BaseException | None = None

    def result(self, until: float) -> Any:
        threading.Thread(target=self._run, name="sdpatterns-connect", daemon=True).start()
        try:
            self._ended.wait(max(0.0, until - time.monotonic()))
        finally:
            with self._lock:
                self._is_wanted = False
                in_time = self._ended.is_set()
        if not in_time:
            raise TimeoutError("no connection in time")
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._make()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        with self._lock:
            self._ended.set()
            too_late = not self._is_wanted and self._error is None
        if too_late:
            self._drop(self._result)
