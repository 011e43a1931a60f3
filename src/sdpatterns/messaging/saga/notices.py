"""The notices that sagas emit. `name` is that of the `Sagas`."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["SagaEnded", "SagaLost", "SagaParked", "SagaStarted", "StepRepeated"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _RunNotice(Notice):
    """Something about one run."""

    saga: str
    id: str

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "saga": self.saga}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SagaStarted(_RunNotice):
    """The run's first entry is in its journal."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SagaEnded(_RunNotice):
    """The run has completed or was undone."""

    status: str
    duration_s: float

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "saga": self.saga, "status": self.status}

    def measures(self) -> dict[str, float]:
        return {"duration_s": self.duration_s}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SagaParked(_RunNotice):
    """The run cannot go on until `SagaHandle.resume` is called."""

    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SagaLost(_RunNotice):
    """The worker's lease on the run ended before its work did: another one goes on."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StepRepeated(Notice):
    """An attempt at a step, or at its undo, failed; the next one is `delay_s` later."""

    step: str
    id: str
    delay_s: float
    error: str

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "step": self.step}
