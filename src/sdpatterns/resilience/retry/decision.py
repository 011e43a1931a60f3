"""Whether to try again, and after how long."""

from __future__ import annotations

from sdpatterns.resilience.retry.config import RetryConfig

__all__ = ["Course"]


class Course:
    """The attempts at one call so far. `attempts` counts them, the first included."""

    __slots__ = ("_config", "_previous_s", "attempts")

    def __init__(self, config: RetryConfig) -> None:
        self._config = config
        self._previous_s = 0.0
        self.attempts = 1

    def next_delay_s(self, hint_s: float | None, left_s: float | None, draw: float) -> tuple[float, str]:
        """Seconds until the next attempt, which is counted here, or the reason why there is none.

        `hint_s` is what the callee asked for, `left_s` the time the caller has, `draw` random in
        [0, 1). The reason is `attempts`, `retry_after` or `deadline`, and empty for a delay.
        """
        config = self._config
        if self.attempts >= config.attempts_max:
            return 0.0, "attempts"
        delay_s = config.delay(self.attempts - 1, self._previous_s, config.base_s, config.max_s, draw)
        if hint_s is not None and hint_s > delay_s:
            if hint_s > config.retry_after_max_s:
                return 0.0, "retry_after"
            delay_s = hint_s
        if left_s is not None and delay_s >= left_s:
            return 0.0, "deadline"
        self._previous_s = delay_s
        self.attempts += 1
        return delay_s, ""
