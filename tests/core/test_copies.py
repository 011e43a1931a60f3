"""A part with state is never doubled: copies are the part itself, and another process is told to build its own."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from sdpatterns import Bulkhead, CircuitBreaker, Pipeline, Quota, RateLimiter, Retry, monthly, per_minute
from sdpatterns.backends.memory import MemoryBackend


def parts() -> list[Any]:
    return [
        CircuitBreaker("b"),
        Bulkhead("b", concurrent_max=1),
        RateLimiter("a", per_minute(1)),
        RateLimiter("a", per_minute(1), store=MemoryBackend().states),
        Quota("q", monthly(1)),
    ]


def test_a_copy_of_a_part_with_state_is_the_part_itself() -> None:
    for part in parts():
        assert copy.copy(part) is part
        assert copy.deepcopy(part) is part
        assert copy.deepcopy({"settings": [part]})["settings"][0] is part


def test_a_copied_pipeline_shares_the_state_of_its_parts() -> None:
    limiter = RateLimiter("a", per_minute(1))
    pipeline = Pipeline(Retry(on=OSError), limiter, name="p")
    twin = copy.deepcopy(pipeline)
    assert twin.parts[1] is limiter
    assert copy.deepcopy(limiter.by("x")).part is limiter


def test_a_part_with_state_is_not_pickled_and_says_what_to_do() -> None:
    for part in [*parts(), Pipeline(CircuitBreaker("b"), name="p")]:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="cannot be sent to another process: build it there, at import time"):
                pickle.dumps(part, protocol)
