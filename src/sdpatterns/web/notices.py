"""The notices that the HTTP middleware emits."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["DeprecatedVersionCalled", "RequestFinished"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RequestFinished(Notice):
    """A request was answered, or broke off.

    `route` is the pattern that matched (`/orders/{id}`), never the path itself, which could take any
    number of values. `status` is 499 where the client left or the server stopped the request first,
    500 where the application raised.
    """

    method: str
    route: str
    status: int
    duration_s: float

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "method": self.method, "route": self.route, "status": str(self.status)}

    def measures(self) -> dict[str, float]:
        """The time from the request's first byte to the end of the answer."""
        return {"duration_s": self.duration_s}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DeprecatedVersionCalled(Notice):
    """A client still uses a version of an API that is deprecated by now."""

    version: str
    caller: str
    path: str

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "version": self.version}
