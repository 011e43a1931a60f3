"""Hazard 5: one exception object raised again and again grows its traceback. Here each is a fresh one."""

from __future__ import annotations

import traceback

import pytest

from sdpatterns import Bulkhead, CircuitBreaker, Timeout, with_deadline
from sdpatterns.core.policy import Policy
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BulkheadFull, CircuitIsOpen, DeadlineExceeded, Rejected


def _open() -> CircuitBreaker:
    breaker = CircuitBreaker("sick")
    breaker.open()
    return breaker


def _full() -> Bulkhead:
    bulkhead = Bulkhead("full", concurrent_max=1)
    finish(bulkhead.enter(""))
    return bulkhead


async def _nothing() -> None:
    return None


@pytest.mark.parametrize(
    ("part", "kind"),
    [(_open(), CircuitIsOpen), (_full(), BulkheadFull), (Timeout(1.0), DeadlineExceeded)],
    ids=["breaker", "bulkhead", "timeout"],
)
def test_two_hundred_refusals_are_two_hundred_exceptions(part: Policy, kind: type[Rejected]) -> None:
    refusals = []
    with with_deadline(0.0):
        for _ in range(200):
            with pytest.raises(kind) as caught:
                finish(part.call(_nothing))
            refusals.append(caught.value)
    assert len({id(refusal) for refusal in refusals}) == 200
    depths = {len(traceback.extract_tb(refusal.__traceback__)) for refusal in refusals}
    assert len(depths) == 1
    assert all(refusal.__context__ is None for refusal in refusals)
