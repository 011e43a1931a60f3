"""The contracts on memory: under asyncio, under trio, and in eight threads without a loop."""

from __future__ import annotations

from typing import cast

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.clock import SYSTEM, Clock
from sdpatterns.testing.contracts import (
    Backend,
    BackendContract,
    BoundedStatesContract,
    CancelledSignalsContract,
    CancelledStatesContract,
    DirectStatesContract,
    PreciseSignalsContract,
    SignalBusContract,
    StateStoreContract,
)


class ShiftedClock(Clock):
    """The system's clock, moved; like every `Clock` it never goes back."""

    __slots__ = ("_last_us", "shift_us")

    def __init__(self) -> None:
        super().__init__(SYSTEM.monotonic, self._read_us)
        self.shift_us = 0
        self._last_us = 0

    def _read_us(self) -> int:
        self._last_us = max(self._last_us, SYSTEM.now_us() + self.shift_us)
        return self._last_us


class ShiftedBackend(MemoryBackend):
    def __init__(self) -> None:
        self.clock = ShiftedClock()
        super().__init__(clock=self.clock)


class Memory(BackendContract):
    def build(self) -> Backend:
        return ShiftedBackend()

    def another(self, backend: Backend, /) -> Backend:
        return backend

    def shift(self, backend: Backend, seconds: float, /) -> None:
        cast("ShiftedBackend", backend).clock.shift_us += int(seconds * 1_000_000)


class TestStatesUnderAsyncio(
    Memory, StateStoreContract, CancelledStatesContract, BoundedStatesContract, DirectStatesContract
):
    runtime = "asyncio"


class TestStatesUnderTrio(Memory, StateStoreContract, BoundedStatesContract, DirectStatesContract):
    runtime = "trio"


class TestStatesInThreads(Memory, StateStoreContract, BoundedStatesContract, DirectStatesContract):
    runtime = "blocking"


class TestSignalsUnderAsyncio(Memory, SignalBusContract, CancelledSignalsContract, PreciseSignalsContract):
    runtime = "asyncio"


class TestSignalsUnderTrio(Memory, SignalBusContract, PreciseSignalsContract):
    runtime = "trio"


class TestSignalsInThreads(Memory, SignalBusContract, PreciseSignalsContract):
    runtime = "blocking"
