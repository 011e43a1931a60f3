"""The crash matrix: each pattern on each backend, with a worker killed or stopped, or the server started again.

    pytest tests/crash/test_matrix.py -m "" -s
    python -m tests.crash.matrix --defaults --out benchmarks/results/crash_matrix.json

The second command makes the figures of `docs/crashes.md`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.matrix import BACKENDS, Store, cells, played, stores
from tests.crash.nursery import Nursery
from tests.crash.patterns import PROGRAMS
from tests.crash.processes import report

pytestmark = [pytest.mark.anyio, pytest.mark.unmeasured]

EACH_TIME = {
    "lease valkey stop", "job valkey kill", "outbox postgres stop", "inbox sqlite kill", "projection postgres stop",
    "saga postgres restart",
}  # fmt: skip
"""One backend and one fault for each pattern."""
EACH_NIGHT = {
    "lease sqlite kill", "lease postgres restart",
    "job sqlite stop", "job postgres restart",
    "outbox postgres kill", "outbox valkey restart",
    "inbox postgres stop", "inbox valkey restart",
    "projection sqlite kill", "projection valkey restart",
    "saga postgres kill", "saga valkey stop",
}  # fmt: skip
"""With those before, one backend for each pattern and fault; the others are left to long runs."""
LEASE_S = 2.0


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Store]]:
    with stores(BACKENDS) as found:
        yield found


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as found:
        yield found


def matrix() -> list[object]:
    """All cells, in one round or, in a long run, in twenty."""
    made: list[object] = []
    for cell in cells(list(PROGRAMS), BACKENDS):
        name = " ".join(cell)
        if name in EACH_TIME | EACH_NIGHT:
            made.append(pytest.param(name, 1, id=name, marks=() if name in EACH_TIME else pytest.mark.nightly))
        made.append(pytest.param(name, 20, id=f"{name}, many", marks=[pytest.mark.long, pytest.mark.timeout(3600)]))
    return made


@pytest.mark.parametrize(("cell", "rounds"), matrix())
async def test_nothing_is_lost_and_nothing_has_its_effect_twice(
    cell: str, rounds: int, servers: dict[str, Store], nursery: Nursery
) -> None:
    name, kind, fault = cell.split()
    found = await played(name, fault, servers[kind], nursery, rounds=rounds, lease_s=LEASE_S)
    report(f"{cell}: {found.figures()}")
    assert found.verdict.items > 0
    assert (found.verdict.lost, found.verdict.double) == (0, 0), found


def test_each_pattern_is_met_in_every_run_and_by_each_fault_every_night() -> None:
    chosen = {tuple(each.split()) for each in EACH_TIME | EACH_NIGHT}
    assert chosen <= set(cells(list(PROGRAMS), BACKENDS))
    assert {(name, fault) for name, _, fault in chosen} == {
        (name, fault) for name, _, fault in cells(list(PROGRAMS), BACKENDS)
    }
    assert {each.split()[0] for each in EACH_TIME} == set(PROGRAMS)
