"""What a backend can do. A pattern asks for a port; a backend adapts one; neither knows the other."""

from sdpatterns.ports.backend import Backend
from sdpatterns.ports.signals import SignalBus, Subscription
from sdpatterns.ports.states import Cells, DirectCells, ForgetfulStore, StateStore

__all__ = ["Backend", "Cells", "DirectCells", "ForgetfulStore", "SignalBus", "StateStore", "Subscription"]
