"""All that may suspend, in one leaf with three twins: asyncio, trio, and no loop at all.

Patterns await nothing but a store and what stands here. A twin answers to `Runtime`; `current()`
finds the one that the caller runs under. In a thread without a loop that is `BLOCKING`, whose
coroutines never suspend, so that `finish` drives them with a single `send(None)`.
"""

from sdpatterns.core.runtime.asyncio import ASYNCIO
from sdpatterns.core.runtime.blocking import BLOCKING
from sdpatterns.core.runtime.protocols import Group, Runtime, Stopped, TimeLimit, Waiter, finish, meant
from sdpatterns.core.runtime.which import current

__all__ = ["ASYNCIO", "BLOCKING", "Group", "Runtime", "Stopped", "TimeLimit", "Waiter", "current", "finish", "meant"]
