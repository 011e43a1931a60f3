"""The public class of an election."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from sdpatterns.coordination.election.service import ALWAYS_S, LeaderService, Term, leading_work
from sdpatterns.coordination.election.watch import Leader, LeaderWatch, LookForLeader
from sdpatterns.coordination.lease.config import LeaseConfig
from sdpatterns.coordination.lease.guard import permits_of
from sdpatterns.coordination.lease.held import Held, Holding
from sdpatterns.coordination.lease.permits import Refusal
from sdpatterns.coordination.lease.waiting import next_caller
from sdpatterns.core.keys import check_name
from sdpatterns.core.ranges import seconds
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.undivided import Undivided
from sdpatterns.ports.signals import SignalBus
from sdpatterns.ports.states import StateStore, check_store

__all__ = ["Election"]


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


class Election(Undivided):
    """Chooses one leader among the processes that share a store, and a new one when it dies.

    ```
    node 1   |=== leads, term 17 ===| dies
    node 2      stands ............. lease over |=== leads, term 23 ===| resigns
    node 3         stands ......................................................|=== leads, term 31 ===
    ```

    `candidate` is the name under which this process stands; observers see it. The default is host and process.

    **Keeps**: by the store's clock at most one candidate leads; the number of each term is larger than that of every
    earlier one; candidates lead in the order in which they stood. A process that is stopped can be the leader in its
    own eyes for longer than in those of the store: give the term's number to each resource that it writes to.

    **May fail** with `LeaseNotGranted` (not elected in time), `LeaseLost` (the term ended while the leader worked), or
    `BackendUnavailable`.

    **Costs** one step to stand and one to resign, one for each third of a lease while it leads or stands.

    ```python
    election = Election("relay", store=backend.states, signals=backend.signals)

    async with election.leading() as term:
        await relay(fence=term.fence)
    ```
    """

    _elsewhere = "build it there, at import time, with the same store"

    def __init__(
        self,
        name: str,
        *,
        store: StateStore,
        signals: SignalBus,
        candidate: str | None = None,
        lease_s: float = 10.0,
        waiters_max: int = 1_000,
        callers: Callable[[], str] = next_caller,
    ) -> None:
        self.name = check_name("Election", name)
        check_store(store)
        self.candidate = check_name("Election(candidate=...)", candidate or _this_process())
        self.config = LeaseConfig(lease_s=lease_s, waiters_max=waiters_max)
        self._store = store
        self._signals = signals
        # Quoted, because a name with `;`, `:` or `|` would break the text in the cell that the script searches.
        title = quote(self.candidate, safe="")
        self._permits = permits_of(
            "Election", name, store, signals, self.config,
            slots=1, keys_max=1, callers=lambda: f"{callers()}@{title}", announces=True,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Election {self.name!r} of {self.candidate!r} (lease {self.config.lease_s:g} s)>"

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that its store needs."""
        return self._store.runtime

    async def campaign(self, *, max_wait_s: float | None = None) -> Held:
        """Stand, and wait until this process leads; without a bound it waits until the deadline of the call.

        Its `fence` is the number of the term. The term is not renewed by itself: use `leading`, or `renew`. Raises
        `LeaseNotGranted` where another leads for too long.
        """
        # A bound in any case, because the same wait serves leases, which always have one.
        wait_s = ALWAYS_S if max_wait_s is None else seconds("max_wait_s", max_wait_s, zero=True)
        taken = await self._permits.wait("", wait_s)
        if isinstance(taken, Refusal):
            raise self._permits.refusal("", taken)
        return taken

    async def renew(self, term: Held) -> bool:
        """Let the term last for `lease_s` from now; False where another leads."""
        return await self._permits.renew(term)

    async def resign(self, term: Held) -> bool:
        """End the term: the candidate that stands longest leads. False where it did not lead any more."""
        return await self._permits.release(term)

    async def release(self, term: Held) -> bool:
        """The same as `resign`."""
        return await self.resign(term)

    def leading(self, *, max_wait_s: float | None = None) -> Holding:
        """`async with` around what only the leader does; the body is cancelled when the term is lost."""
        return Holding(self, lambda: self.campaign(max_wait_s=max_wait_s))

    async def leader(self) -> Leader | None:
        """Who leads now, by the store's clock."""
        leader, _ = await self._permits.cells.transact("", LookForLeader())
        return leader

    def watch(self) -> LeaderWatch:
        """The leader, and each change of it: see `LeaderWatch`."""
        return LeaderWatch(self._permits.cells, self._signals, self._permits.topic(""), self.config.lease_s)

    def service(self, work: Callable[[Term], Awaitable[None]], /, *, drain_s: float = 30.0) -> LeaderService:
        """A service that runs `work(term)` whenever this process leads: see `LeaderService`."""
        # `work` and not `function`, which the blocking door would take for one that gets nothing to await.
        return LeaderService(self.name, self._permits, self._held_already, leading_work(work), drain_s)

    async def run(self, work: Callable[[Term], Awaitable[None]], /, *, drain_s: float = 30.0) -> None:
        """Run `work(term)` whenever this process leads, until it returns or the caller is cancelled."""
        await self.service(work, drain_s=drain_s).run()

    def _held_already(self, held: Held) -> Holding:
        async def entered() -> Held:
            """It was taken by the campaign."""
            return held

        return Holding(self, entered)
