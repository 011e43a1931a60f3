"""The part of a port's contract that runs each time in threads, on a store that keeps all of it under asyncio.

A store decides in one place for both doors, and a blocking driver has its own way to send values and to wait. So
in threads each operation, the order of its answers and its races run each time; the whole contract is `long`.
"""

from __future__ import annotations

from sdpatterns.testing.contracts.logs.appends import LogAppends
from sdpatterns.testing.contracts.logs.races import LogRaces
from sdpatterns.testing.contracts.logs.reads import LogReads
from sdpatterns.testing.contracts.queues.letters import QueueLetters
from sdpatterns.testing.contracts.queues.races import QueueRaces
from sdpatterns.testing.contracts.queues.verbs import QueueVerbs


class BriefQueueContract(QueueVerbs, QueueLetters, QueueRaces):
    """Publish, claim, settle, dead letters, and workers at once."""


class BriefLogContract(LogAppends, LogReads, LogRaces):
    """Append, read, and writers at once."""
