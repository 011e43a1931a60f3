"""A child that is forked inside a block leaves what its parent holds to the parent."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdpatterns import Idempotency, Lease
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.blocking import blocking
from sdpatterns.coordination.lease.held import Held
from sdpatterns.core.runtime import finish
from tests.forks import in_child, needs_fork

pytestmark = needs_fork


class _ChildLeaves(Exception):
    """What the child raises in the block of its parent."""


def left_by_a_child(block: Callable[[Callable[[], None]], None]) -> int:
    """Run the block, which calls its argument where it forks: the child leaves with an exception, and ends."""
    status = 0

    def fork() -> None:
        nonlocal status
        child = os.fork()
        if child == 0:
            raise _ChildLeaves
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    try:
        block(fork)
    except _ChildLeaves:
        os._exit(7)
    return status


@pytest.fixture(params=["sqlite", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> SQLBackend | RedisBackend:
    if request.param == "redis":
        return RedisBackend(request.getfixturevalue("valkey_url"), blocking=True)
    made = SQLBackend(f"sqlite:///{tmp_path / 'forks.db'}")
    finish(made.create())
    return made


def test_a_lease_stays_with_the_parent(backend: SQLBackend | RedisBackend) -> None:
    with backend:
        lease = blocking(Lease(uuid.uuid4().hex, store=backend.states, signals=backend.signals))

        def block(fork: Callable[[], None]) -> None:
            with lease.guard("a") as held:
                fork()
                assert not lease.acquire("a").allowed
                assert lease.renew(held)

        assert left_by_a_child(block) == 7
        assert lease.acquire("a").allowed


def test_an_idempotency_claim_stays_with_the_parent(backend: SQLBackend | RedisBackend) -> None:
    with backend:
        once = blocking(Idempotency(uuid.uuid4().hex, store=backend.states))
        calls = []

        def block(fork: Callable[[], None]) -> None:
            def work() -> str:
                calls.append(1)
                fork()
                return "done"

            assert once.call("a", work) == "done"

        assert left_by_a_child(block) == 7
        assert once.call("a", lambda: "again") == "done"
        assert calls == [1]


def test_what_a_child_returns_is_not_the_answer(backend: SQLBackend | RedisBackend) -> None:
    with backend:
        once = blocking(Idempotency(uuid.uuid4().hex, store=backend.states))

        def work() -> str:
            child = os.fork()
            if child == 0:
                return "the child's"
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            return "the parent's"

        answer = once.call("a", work)
        if answer == "the child's":
            os._exit(7)
        assert answer == once.call("a", lambda: "again") == "the parent's"


def test_a_child_may_take_a_lease_over(backend: SQLBackend | RedisBackend) -> None:
    with backend:
        lease = blocking(Lease(uuid.uuid4().hex, store=backend.states, signals=backend.signals))
        held = lease.acquire("a").permit
        assert held is not None
        assert in_child(lambda: _renewed_and_released(lease, held)) == 0
        assert lease.acquire("a").allowed


def _renewed_and_released(lease: Any, held: Held) -> None:
    assert lease.renew(held)
    assert lease.release(held)
