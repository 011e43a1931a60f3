"""What a backend can do. A pattern asks for a port; a backend adapts one; neither knows the other."""

from sdpatterns.ports.backend import Backend, HasQueues, HasSignals, HasStates
from sdpatterns.ports.queue import MessageQueue
from sdpatterns.ports.signals import SignalBus, Subscription
from sdpatterns.ports.states import Cells, DirectCells, ForgetfulStore, StateStore
from sdpatterns.ports.within import View

__all__ = [
    "Backend", "Cells", "DirectCells", "ForgetfulStore", "HasQueues", "HasSignals", "HasStates", "MessageQueue",
    "SignalBus", "StateStore", "Subscription", "View",
]  # fmt: skip
