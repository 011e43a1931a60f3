"""The contract of `EventLog`: what every log keeps."""

from __future__ import annotations

from sdpatterns.testing.contracts.logs.appends import LogAppends
from sdpatterns.testing.contracts.logs.order import LogOrder
from sdpatterns.testing.contracts.logs.races import LogRaces
from sdpatterns.testing.contracts.logs.reads import LogReads
from sdpatterns.testing.contracts.logs.stored import BoundedLogContract, CancelledLogContract, SharedLogContract
from sdpatterns.testing.contracts.logs.transactions import OpenLogTransaction, TransactionalLogContract
from sdpatterns.testing.contracts.logs.trims import LogTrims

__all__ = [
    "BoundedLogContract",
    "CancelledLogContract",
    "EventLogContract",
    "OpenLogTransaction",
    "SharedLogContract",
    "TransactionalLogContract",
]


class EventLogContract(LogAppends, LogReads, LogOrder, LogTrims, LogRaces):
    """What `EventLog` promises of every log."""
