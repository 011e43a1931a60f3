"""What a backend can do. A pattern asks for a port; a backend adapts one; neither knows the other."""

from sdpatterns.ports.backend import Backend, HasLogs, HasQueues, HasSignals, HasStates
from sdpatterns.ports.log import EventLog
from sdpatterns.ports.log_archive import LogArchive
from sdpatterns.ports.log_subscription import LogSubscription
from sdpatterns.ports.queue import MessageQueue
from sdpatterns.ports.signals import SignalBus, Subscription
from sdpatterns.ports.states import Cells, DirectCells, ForgetfulStore, StateStore
from sdpatterns.ports.within import View

__all__ = [
    "Backend", "Cells", "DirectCells", "EventLog", "ForgetfulStore", "HasLogs", "HasQueues", "HasSignals", "HasStates",
    "LogArchive", "LogSubscription", "MessageQueue", "SignalBus", "StateStore", "Subscription", "View",
]  # fmt: skip
