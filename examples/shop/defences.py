"""The defences of each call from one service to another."""

from __future__ import annotations

from sdpatterns import Bulkhead, Pipeline, Timeout

QUEUE_MAX = 1_000


def bounded_calls(to: str, connections_max: int, patience_s: float) -> Pipeline:
    """Calls wait in order for a connection, for a limited time; then their own time is limited.

    Without the queue, calls to one slow service use up the sockets for all others.
    """
    slots = Bulkhead(f"connections to {to}", concurrent_max=connections_max, queue_max=QUEUE_MAX, max_wait_s=patience_s)
    return Pipeline(slots, Timeout(patience_s), name=to)
