"""Lease: one caller at a time works on a key, and each has a larger fence than the one before."""

from sdpatterns.coordination.lease.config import LeaseConfig
from sdpatterns.coordination.lease.guard import KeyedLease, Lease, LeaseAnswer
from sdpatterns.coordination.lease.held import Held, Holding, current_lease
from sdpatterns.coordination.lease.readwrite import ReadSide, ReadWriteLease, WriteSide
from sdpatterns.coordination.lease.register import FenceRegister
from sdpatterns.coordination.lease.several import HoldingAll

__all__ = [
    "FenceRegister",
    "Held",
    "Holding",
    "HoldingAll",
    "KeyedLease",
    "Lease",
    "LeaseAnswer",
    "LeaseConfig",
    "ReadSide",
    "ReadWriteLease",
    "WriteSide",
    "current_lease",
]
