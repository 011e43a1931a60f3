"""What every backend must keep, as test classes to inherit from.

```python
from sdpatterns.testing.contracts import StateStoreContract, StoredStatesContract

class TestMine(StateStoreContract, StoredStatesContract):
    runtime = "asyncio"

    def build(self):
        return MyBackend("mine://localhost")
```

`runtime` is "asyncio", "trio" or "blocking"; under "blocking" the tests that do things at once use
eight threads. Run with plain pytest; no plugin is needed. Imports pytest: `pip install
"sdpatterns[testing]"`.
"""

import pytest

# Before they are imported: a failed assertion in them then shows its values.
pytest.register_assert_rewrite("sdpatterns.testing.contracts.states", "sdpatterns.testing.contracts.signals")

from sdpatterns.testing.contracts.signals import (  # noqa: E402
    CancelledSignalsContract,
    PreciseSignalsContract,
    SharedSignalsContract,
    SignalBusContract,
)
from sdpatterns.testing.contracts.stage import Backend, BackendContract, RuntimeName, Stage, scene  # noqa: E402
from sdpatterns.testing.contracts.states import (  # noqa: E402
    BoundedStatesContract,
    CancelledStatesContract,
    DirectStatesContract,
    StateStoreContract,
    StoredStatesContract,
)

__all__ = [
    "Backend",
    "BackendContract",
    "BoundedStatesContract",
    "CancelledSignalsContract",
    "CancelledStatesContract",
    "DirectStatesContract",
    "PreciseSignalsContract",
    "RuntimeName",
    "SharedSignalsContract",
    "SignalBusContract",
    "Stage",
    "StateStoreContract",
    "StoredStatesContract",
    "scene",
]
