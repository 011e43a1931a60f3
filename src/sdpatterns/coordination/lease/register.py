"""A register of fences beside a resource that cannot compare them itself, such as one behind HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.keys import check_name, join_key, short_key
from sdpatterns.core.ranges import number, whole
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.step import Repeats, Step, unchanged
from sdpatterns.core.undivided import Undivided
from sdpatterns.errors import StaleFence
from sdpatterns.ports.states import KEYS_MAX, Space, StateStore, check_store, rely_on

__all__ = ["FENCE_MAX", "FenceRegister", "RaiseFence"]

FENCE_MAX = 2**63 - 1
"""The largest fence: that of a signed number of 64 bits, which every database has."""


class FenceRegister(Undivided):
    """Remembers the largest fence that each resource has seen, and refuses an older one.

    ```
    holder 1, fence 17   check --> ok   ... stopped ...                      check --> StaleFence
    holder 2, fence 23                     lease over: mine, check --> ok
    ```

    Check at the beginning of each read and each write, so that a holder that has read and then stopped cannot write
    what it computed from that. All holders take their fences from the same key of the same lease.

    **Keeps**: once a fence was checked for a resource, no smaller one is, for at least `keep_s`. The check and what you
    do next are two steps: a program that stops between them is late in the same way as its client was. Where the
    resource is a row in SQL or a key on Redis, `FencedRows` and `FencedKeys` compare in the write itself.
    **May fail** with `StaleFence`, `BackendUnavailable`, `OutcomeUnknown`, `BackendFull`; `ValueError` for a fence that
    is no positive number of 64 bits.
    **Costs** one step for each check, which writes only what a new holder brings. One cell for each resource.

    ```python
    seen = FenceRegister("accounts", store=backend.states)
    await seen.check("seller-7", held.fence)
    ```
    """

    _elsewhere = "build it there, at import time, with the same store"

    def __init__(
        self, name: str, *, store: StateStore, keep_s: float = 30 * 86_400.0, keys_max: int = KEYS_MAX
    ) -> None:
        self.name = check_name("FenceRegister", name)
        check_store(store)
        rely_on(store, f"FenceRegister {name!r}")
        self._store = store
        self._keep_s = number("keep_s", keep_s, 60.0, 10 * 366 * 86_400.0)
        space = Space(join_key("fences", name), IntegersCodec(), keys_max=keys_max, overflow="refuse")
        self._cells = store.cells(space)

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that the store needs."""
        return self._store.runtime

    async def check(self, resource: str, fence: int) -> None:
        """Take `fence` as seen. Raises `StaleFence` when the resource has seen a larger one."""
        whole("fence", fence, 1, FENCE_MAX)
        seen = await self._cells.transact(short_key(resource), RaiseFence(fence, self._keep_s))
        # Equal is allowed: it is the same holder, with its next request.
        if fence < seen:
            raise StaleFence(resource, presented=fence, seen=seen)

    def __repr__(self) -> str:
        return f"<FenceRegister {self.name!r}>"


class RaiseFence:
    """Keep the larger of two fences. Answers the largest that was seen."""

    __slots__ = ("fence", "keep_s")
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, fence: int, keep_s: float) -> None:
        self.fence = fence
        self.keep_s = keep_s

    def __call__(self, states: Sequence[tuple[int, ...] | None], now_us: int, /) -> Step[tuple[int, ...], int]:
        """The holder's own fence is found again by each of its requests, and is not written again."""
        [state] = states
        if state is not None and state[0] >= self.fence:
            return unchanged(state[0])
        return ((self.fence,),), self.fence, (self.keep_s,), ()
