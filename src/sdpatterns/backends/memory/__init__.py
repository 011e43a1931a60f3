"""The embedded backend: everything in this process, nothing to install, nothing that waits."""

from sdpatterns.backends.memory.backend import MemoryBackend
from sdpatterns.backends.memory.log import MemoryLog
from sdpatterns.backends.memory.queue import MemoryQueue
from sdpatterns.backends.memory.signals import MemorySignals
from sdpatterns.backends.memory.states import MemoryStates

__all__ = ["MemoryBackend", "MemoryLog", "MemoryQueue", "MemorySignals", "MemoryStates"]
