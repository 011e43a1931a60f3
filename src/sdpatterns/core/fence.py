"""Fencing tokens: numbers that only grow, so that a store can refuse the writes of a caller that lost its lease.

Source: Kleppmann, "How to do distributed locking" (2016); Chubby's sequencers (Burrows, 2006).
"""

from __future__ import annotations

from sdpatterns.errors import StaleFence

__all__ = ["Fence", "next_fence"]


def next_fence(last: int, now_us: int) -> int:
    """The next token: one more than the last, or the store's microseconds, whichever is larger.

    Keeps: it grows even when the cell was dropped while idle (`last` is then 0), and after a store
    lost its last second.
    """
    return max(last + 1, now_us)


class Fence:
    """The newest token that one resource has seen; refuses an older one.

    For a resource in this process. A resource in a store compares the token in its own transaction.
    """

    __slots__ = ("_resource", "_seen")

    def __init__(self, resource: str) -> None:
        self._resource = resource
        self._seen = 0

    def check(self, token: int) -> None:
        """Take `token` as seen. Raises `StaleFence` when a newer one was seen before."""
        if token < self._seen:
            raise StaleFence(self._resource, presented=token, seen=self._seen)
        self._seen = token
