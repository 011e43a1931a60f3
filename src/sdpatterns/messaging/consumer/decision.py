"""What becomes of a message whose handler raised: pure, no clock, no randomness of its own."""

from __future__ import annotations

from typing import NamedTuple

from sdpatterns.algorithms.backoff import BACKOFFS
from sdpatterns.errors import CodecError, Rejected
from sdpatterns.messaging.consumer.config import Redelivery

__all__ = ["Again", "GiveUp", "Next", "after_failure"]

_REFUSED_PAUSE_S = 1.0


class Again(NamedTuple):
    """One more attempt after `delay_s`. A refusal does not count: the handler did not begin its work."""

    delay_s: float
    counts: bool


class GiveUp(NamedTuple):
    """No more attempts."""

    reason: str


Next = Again | GiveUp


def after_failure(config: Redelivery, attempt: int, error: Exception, draw: float) -> Next:
    """What comes after `error` in the attempt of that number (from 1); `draw` is random in [0, 1).

    A `Rejected` (a limiter, a bulkhead or an open breaker around the handler) asks for another time. Other
    exceptions count as attempts; one that has a `retry_after_s` is listened to.
    """
    hint_s = _hint_s(error)
    if isinstance(error, Rejected):
        return Again(_REFUSED_PAUSE_S if hint_s is None else min(hint_s, config.retry_after_max_s), counts=False)
    if isinstance(error, (*config.give_up_on, CodecError)):
        return GiveUp(_told(error))
    if attempt >= config.attempts_max:
        return GiveUp(f"attempt {attempt} of {config.attempts_max}: {_told(error)}")
    if hint_s is not None and hint_s > config.retry_after_max_s:
        return GiveUp(f"asked for {hint_s:g} s, over retry_after_max_s: {_told(error)}")
    # The last delay is not kept in the queue; that of the attempt before stands in for it.
    backoff = BACKOFFS[config.backoff]
    before_s = min(config.max_s, config.base_s * 2.0 ** min(attempt - 2, 60)) if attempt > 1 else config.base_s
    delay_s = backoff(attempt - 1, before_s, config.base_s, config.max_s, draw)
    return Again(delay_s if hint_s is None else max(delay_s, hint_s), counts=True)


def _hint_s(error: Exception) -> float | None:
    found = getattr(error, "retry_after_s", None)
    return float(found) if isinstance(found, (int, float)) and found >= 0 else None


def _told(error: Exception) -> str:
    try:
        return f"{type(error).__qualname__}: {error}"[:1000]
    except Exception:  # noqa: BLE001 - an exception of the user's whose text raises
        return type(error).__qualname__
