"""Election: one process of the fleet leads, and each term has a larger number than the one before."""

from sdpatterns.coordination.election.candidate import Election
from sdpatterns.coordination.election.service import LeaderService, Term
from sdpatterns.coordination.election.watch import Leader, LeaderWatch

__all__ = ["Election", "Leader", "LeaderService", "LeaderWatch", "Term"]
