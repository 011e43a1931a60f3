"""How a call ended, as guards get it."""

from __future__ import annotations

from enum import Enum

__all__ = ["Outcome"]


class Outcome(Enum):
    """Success, failure, or neither.

    A call that its own caller cancelled says nothing about the callee, so `CANCELLED` is never
    counted as a failure. `IGNORED` is an exception that the configuration declared harmless.
    """

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    IGNORED = "ignored"
