"""The notices that a fallback emits."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["AlternativeUsed", "AlternativesExhausted"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AlternativeUsed(Notice):
    """Alternative number `alternative`, counted from 1, gave the answer.

    `error` is the name of the type of exception that the call itself raised, or empty where its
    result was not wanted.
    """

    alternative: int
    error: str

    def labels(self) -> dict[str, str]:
        """The fallback, which alternative, and the kind of failure."""
        return {"name": self.name, "alternative": str(self.alternative), "error": self.error}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AlternativesExhausted(Notice):
    """No alternative helped: the failure of the one tried last reached the caller.

    `error` is the name of that exception's type, or empty if it was a result that `on_result` rejects.
    """

    error: str

    def labels(self) -> dict[str, str]:
        """The fallback and the kind of the last failure."""
        return {"name": self.name, "error": self.error}
