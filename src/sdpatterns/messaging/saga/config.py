"""How a saga's steps are tried again, and which failures are answers."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.error_codec import ErrorCodec
from sdpatterns.core.ranges import whole
from sdpatterns.messaging.consumer.config import Redelivery

__all__ = ["SagaConfig"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SagaConfig(Redelivery):
    """The settings of one saga, checked.

    A step that raises one of `give_up_on` has answered: the exception is stored and raised in the saga, also when the
    run goes on elsewhere. Any other exception leaves open whether the step has had its effect. So it is tried again
    with the same idempotency key, `attempts_max` times, and then the run is parked.
    """

    version: int = 1
    attempts_max: int = 10

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        whole("version", self.version, 1)
        ErrorCodec(self.give_up_on, "give_up_on")
