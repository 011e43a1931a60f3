"""Every lock that outlives a call is one that a forked child can use."""

from __future__ import annotations

import ast

from tests.house.source import PACKAGE, modules, parsed

MADE_AGAIN = {
    "backends/redis/durability.py": "taken once and never waited for",
    "backends/redis/pool.py": "belongs to the connections, which the child makes again",
    "backends/sqlalchemy/postgres/bounds.py": "belongs to one call",
    "backends/sqlalchemy/postgres/notifiers.py": "belongs to the connections, which the child makes again",
    "backends/sqlalchemy/sqlite/writer.py": "belongs to the connections, which the child makes again",
    "backends/sqlalchemy/sqlite/listeners.py": "belongs to the connections, which the child makes again",
    "backends/sqlalchemy/postgres/psycopg.py": "belongs to the connections, which the child makes again",
    "backends/sqlalchemy/sqlite/connections.py": "belongs to the connections, which the child makes again",
    "core/forks.py": "makes the others",
    "core/runtime/alarm.py": "made again in the child",
    "core/runtime/blocking.py": "belongs to one waiter",
    "ports/engine/batcher.py": "belongs to the connections, which the child makes again",
    "ports/engine/listener.py": "belongs to the connections, which the child makes again",
    "resilience/breaker/decision.py": "registered by the circuits of its breaker",
}
"""The modules that make a lock themselves, and why a child never meets one that is taken."""

KINDS = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier"}


def makes_a_lock(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in KINDS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "threading"
    )


def test_a_lock_comes_from_the_place_that_knows_forks() -> None:
    making = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        if any(makes_a_lock(node) for node in ast.walk(parsed(path)))
    }
    assert making == set(MADE_AGAIN)
