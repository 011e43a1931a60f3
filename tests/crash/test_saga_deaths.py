"""Sagas whose two workers die at each of their calls in turn: each order ends, and no customer is charged twice.

pytest tests/crash/test_saga_deaths.py -m "" -s
"""

from __future__ import annotations

import pytest

from tests.crash.matrix import BACKENDS, stores
from tests.crash.nursery import Nursery
from tests.crash.processes import report
from tests.crash.saga_deaths import figures, many
from tests.machine import slowness

pytestmark = [pytest.mark.anyio, pytest.mark.unmeasured]

ENDED_WITHIN_S = 30.0
LEASE_S = 4.0


@pytest.mark.parametrize(
    ("rounds", "at_once"), [(7, 7), pytest.param(170, 4, marks=[pytest.mark.long, pytest.mark.timeout(7200)])]
)
async def test_each_run_ends_and_each_charge_is_made_once(rounds: int, at_once: int) -> None:
    with stores(BACKENDS) as found, Nursery() as nursery:
        for kind in BACKENDS:
            told = figures(await many(kind, found[kind], nursery, range(rounds), at_once, lease_s=LEASE_S))
            report(f"{kind}: {told}")
            assert (told["lost"], told["double"]) == (0, 0)
            assert told["deaths"] >= rounds
            if rounds > 7:
                assert told["max_s"] <= ENDED_WITHIN_S * slowness()
