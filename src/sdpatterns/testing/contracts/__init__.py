"""What every backend must keep, as test classes to inherit from.

```python
from sdpatterns.testing.contracts import StateStoreContract, StoredStatesContract

class TestMine(StateStoreContract, StoredStatesContract):
    runtime = "asyncio"

    def build(self):
        return MyBackend("mine://localhost")
```

| class | for |
|---|---|
| `StateStoreContract` | every store |
| `CancelledStatesContract` | stores used from a loop: a caller may be cancelled at any await |
| `StoredStatesContract` | stores that keep bytes outside this process |
| `BoundedStatesContract` | stores that hold the keys themselves: `keys_max` and `overflow` |
| `DirectStatesContract` | stores that never suspend: `transact_now` |
| `SignalBusContract` | every bus |
| `CancelledSignalsContract` | buses used from a loop: a wait may be cancelled |
| `SharedSignalsContract` | buses that reach other clients of the same backend |
| `PreciseSignalsContract` | buses that wake a subscription for its own topics only, unless a notification was missed |
| `MessageQueueContract` | every queue: `backend.queue(name)`. Scenes about capabilities that it lacks are skipped |
| `CancelledQueueContract` | queues used from a loop: a caller may be cancelled at any await |
| `SharedQueueContract` | queues that other clients of the same backend share |
| `BoundedQueueContract` | queues that hold the messages themselves: `messages_max` |
| `TransactionalQueueContract` | queues within a transaction of the caller's: `backend.within(session).queue(name)` |
| `EventLogContract` | every log: `backend.log(name)` |
| `CancelledLogContract` | logs used from a loop: a caller may be cancelled at any await |
| `SharedLogContract` | logs that other clients of the same backend share |
| `BoundedLogContract` | logs that hold the events themselves: `events_max` |
| `TransactionalLogContract` | logs within a transaction of the caller's: `backend.within(session).log(name)` |
| `AlgorithmContract` | every `Algorithm` of a rate limiter |
| `ScriptedAlgorithmContract` | those with `lua`, on a real Redis or Valkey |

`runtime` is "asyncio", "trio" or "blocking"; under "blocking" the tests that do things at once use
eight threads. Run with plain pytest; no plugin is needed. Imports pytest: `pip install
"sdpatterns[testing]"`.
"""

# ruff: noqa: E402 - pytest must know of the modules before they are imported

import pytest

# A failed assertion in them then shows its values.
_PAGES = ("states", "stored", "inprocess", "signals", "queues", "logs", "algorithms")
pytest.register_assert_rewrite(*(f"{__name__}.{page}" for page in _PAGES))

from sdpatterns.testing.contracts.algorithms import AlgorithmContract, ScriptedAlgorithmContract
from sdpatterns.testing.contracts.inprocess import BoundedStatesContract, DirectStatesContract
from sdpatterns.testing.contracts.logs import (
    BoundedLogContract,
    CancelledLogContract,
    EventLogContract,
    OpenLogTransaction,
    SharedLogContract,
    TransactionalLogContract,
)
from sdpatterns.testing.contracts.queues import (
    BoundedQueueContract,
    CancelledQueueContract,
    MessageQueueContract,
    OpenTransaction,
    SharedQueueContract,
    TransactionalQueueContract,
)
from sdpatterns.testing.contracts.signals import (
    CancelledSignalsContract,
    PreciseSignalsContract,
    SharedSignalsContract,
    SignalBusContract,
)
from sdpatterns.testing.contracts.stage import BackendContract, BackendUnderTest, RuntimeName, Stage, scene
from sdpatterns.testing.contracts.states import StateStoreContract
from sdpatterns.testing.contracts.stored import CancelledStatesContract, StoredStatesContract

__all__ = [
    "AlgorithmContract",
    "BackendContract",
    "BackendUnderTest",
    "BoundedLogContract",
    "BoundedQueueContract",
    "BoundedStatesContract",
    "CancelledLogContract",
    "CancelledQueueContract",
    "CancelledSignalsContract",
    "CancelledStatesContract",
    "DirectStatesContract",
    "EventLogContract",
    "MessageQueueContract",
    "OpenLogTransaction",
    "OpenTransaction",
    "PreciseSignalsContract",
    "RuntimeName",
    "ScriptedAlgorithmContract",
    "SharedLogContract",
    "SharedQueueContract",
    "SharedSignalsContract",
    "SignalBusContract",
    "Stage",
    "StateStoreContract",
    "StoredStatesContract",
    "TransactionalLogContract",
    "TransactionalQueueContract",
    "scene",
]
