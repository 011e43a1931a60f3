"""Rollout: gives a new version more traffic step by step, and takes it back when it fails more than the old one."""

from sdpatterns.observability.rollout.config import RolloutConfig
from sdpatterns.observability.rollout.decision import Counts
from sdpatterns.observability.rollout.notices import RolloutAdvanced, RolloutCompleted, RolloutReverted
from sdpatterns.observability.rollout.rollout import Judgement, Rollout, Verdict

__all__ = [
    "Counts",
    "Judgement",
    "Rollout",
    "RolloutAdvanced",
    "RolloutCompleted",
    "RolloutConfig",
    "RolloutReverted",
    "Verdict",
]
