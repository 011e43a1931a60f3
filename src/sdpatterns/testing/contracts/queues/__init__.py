"""The contract of `MessageQueue`: what every queue keeps, as far as it declares that it can."""

from __future__ import annotations

from sdpatterns.testing.contracts.queues.ids import QueueIds
from sdpatterns.testing.contracts.queues.leases import QueueLeases
from sdpatterns.testing.contracts.queues.letters import QueueLetters
from sdpatterns.testing.contracts.queues.order import QueueOrder
from sdpatterns.testing.contracts.queues.races import QueueRaces
from sdpatterns.testing.contracts.queues.stored import (
    BoundedQueueContract,
    CancelledQueueContract,
    SharedQueueContract,
)
from sdpatterns.testing.contracts.queues.transactions import OpenTransaction, TransactionalQueueContract
from sdpatterns.testing.contracts.queues.verbs import QueueVerbs

__all__ = [
    "BoundedQueueContract",
    "CancelledQueueContract",
    "MessageQueueContract",
    "OpenTransaction",
    "SharedQueueContract",
    "TransactionalQueueContract",
]


class MessageQueueContract(QueueVerbs, QueueLeases, QueueOrder, QueueIds, QueueLetters, QueueRaces):
    """What `MessageQueue` promises of every queue.

    Scenes about a capability that a queue does not declare are skipped.
    """
