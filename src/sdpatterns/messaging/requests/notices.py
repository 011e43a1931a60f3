"""The notices of a responder. `name` is that of the requests."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["RequestAnswered", "RequestExpired"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RequestAnswered(Notice):
    """The reply is written. `lag_s` is the time that the request waited, `is_failure` whether its handler raised."""

    id: str
    lag_s: float
    is_failure: bool

    def measures(self) -> dict[str, float]:
        return {"lag_s": self.lag_s}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RequestExpired(Notice):
    """Its deadline had passed before a responder came to it: it was dropped, and its handler never ran."""

    id: str
