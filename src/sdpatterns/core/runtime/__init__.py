"""All that may suspend, with three implementations: asyncio, trio, and no event loop.

Patterns await only a store and what is defined here. Each implements `Runtime`; `current()` gives
the one under which the caller runs. In a thread without a loop that is `BLOCKING`, whose
coroutines never suspend, so that `finish` drives them with a single `send(None)`.
"""

from sdpatterns.core.runtime.asyncio import ASYNCIO
from sdpatterns.core.runtime.blocking import BLOCKING
from sdpatterns.core.runtime.protocols import Company, Group, Runtime, Stopped, TimeLimit, Waiter, finish, meant
from sdpatterns.core.runtime.which import current

__all__ = [
    "ASYNCIO",
    "BLOCKING",
    "Company",
    "Group",
    "Runtime",
    "Stopped",
    "TimeLimit",
    "Waiter",
    "current",
    "finish",
    "meant",
]
