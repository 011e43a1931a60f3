"""The contracts on memory: under asyncio, under trio, and in eight threads without a loop."""

from __future__ import annotations

from typing import cast

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.testing.contracts import (
    BackendContract,
    BackendUnderTest,
    BoundedLogContract,
    BoundedQueueContract,
    BoundedStatesContract,
    CancelledLogContract,
    CancelledQueueContract,
    CancelledSignalsContract,
    CancelledStatesContract,
    DirectStatesContract,
    EventLogContract,
    MessageQueueContract,
    PreciseSignalsContract,
    SignalBusContract,
    StateStoreContract,
)
from sdpatterns.testing.faults import SteppedClock


class ShiftedBackend(MemoryBackend):
    def __init__(self) -> None:
        self.clock = SteppedClock()
        super().__init__(clock=self.clock)


class Memory(BackendContract):
    def build(self) -> BackendUnderTest:
        return ShiftedBackend()

    def another(self, backend: BackendUnderTest, /) -> BackendUnderTest:
        return backend

    def shift(self, backend: BackendUnderTest, seconds: float, /) -> None:
        cast("ShiftedBackend", backend).clock.step(seconds)


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


class TestQueuesUnderAsyncio(Memory, MessageQueueContract, CancelledQueueContract, BoundedQueueContract):
    runtime = "asyncio"


class TestQueuesUnderTrio(Memory, MessageQueueContract, BoundedQueueContract):
    runtime = "trio"


class TestQueuesInThreads(Memory, MessageQueueContract, BoundedQueueContract):
    runtime = "blocking"


class TestLogsUnderAsyncio(Memory, EventLogContract, CancelledLogContract, BoundedLogContract):
    runtime = "asyncio"


class TestLogsUnderTrio(Memory, EventLogContract, BoundedLogContract):
    runtime = "trio"


class TestLogsInThreads(Memory, EventLogContract, BoundedLogContract):
    runtime = "blocking"
