"""Idempotency: do the work of one key once, and give each caller the same answer."""

from sdpatterns.coordination.idempotency.claim import Claim, Key, Replay, current_claim
from sdpatterns.coordination.idempotency.config import IdempotencyConfig
from sdpatterns.coordination.idempotency.fingerprint import fingerprint
from sdpatterns.coordination.idempotency.policy import Idempotency

__all__ = ["Claim", "Idempotency", "IdempotencyConfig", "Key", "Replay", "current_claim", "fingerprint"]
