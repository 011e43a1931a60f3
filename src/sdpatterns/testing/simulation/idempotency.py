"""Nodes that do the work of one key once, over a bad network, and die now and then.

Promises: at most one claim on a key stands at a time, by the store's clock; fences grow from claim to
claim; where the store's clock is not set, no two pieces of work on one key overlap, though
nodes are parted from the store while they work; once an answer is stored no work begins, and every
caller is given that very answer; a resource that checks the fence is never written by a late owner
after a newer one; and when the trouble is over, the key can be worked on.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any, NamedTuple

from sdpatterns.coordination.idempotency import Idempotency
from sdpatterns.coordination.idempotency.claim import current_claim
from sdpatterns.coordination.idempotency.decision import ClaimStatus, Release, Renew, Settle, TakeClaim
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.fence import Fence
from sdpatterns.errors import BackendError, ClaimHeld, ClaimLost, KeyReused, StaleFence
from sdpatterns.ports.states import Space
from sdpatterns.testing.faults import FaultyStates
from sdpatterns.testing.simulation.record import Happened
from sdpatterns.testing.simulation.world import Run

__all__ = ["IdempotencyWorld"]

_KEYS = ("order-1", "order-2")


class IdempotencyWorld:
    """See the module."""

    name = "idempotency"
    sometimes = (
        "delayed", "unsent", "lost_before", "lost_after", "copied", "away", "parted", "stepped",
        "claimed", "taken_over", "renewed", "settled", "released", "worked", "answered", "replayed", "work_failed",
        "held", "reused", "lost", "late_write", "outage", "cancelled", "died",
    )  # fmt: skip

    async def play(self, run: Run) -> None:
        """Some nodes and callers, trouble, then peace, then the judgement."""
        shop = _Shop(run)
        await run.all_of(shop.caller(number) for number in range(run.chance.randint(2, 8)))
        await shop.peace()


class _Granted(NamedTuple):
    owner: str
    fence: int
    until_us: int


class _Ledger:
    """What the store did, key by key, and what may follow from it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.granted: dict[str, _Granted] = {}
        self.fence: dict[str, int] = defaultdict(int)
        self.answers: dict[str, bytes] = {}

    def tell(self, happened: Happened) -> None:
        """Judge one step that took effect."""
        (key,), step, now_us, answer = happened[:4]
        self.run.note(type(step).__name__, key, now_us, repr(answer))
        stands = self.granted.get(key)
        if isinstance(step, TakeClaim) and answer.status is ClaimStatus.CLAIMED:
            self._taken(key, step, now_us, answer.fence, stands)
        elif isinstance(step, Renew) and answer:
            self.run.note("renewed")
            self._by_its_owner("renewed", key, step.owner, stands)
            self.granted[key] = _Granted(step.owner, step.fence, now_us + step.lease_us)
        elif isinstance(step, Settle) and answer:
            self._settled(key, step, stands)
        elif isinstance(step, Release) and answer:
            self.run.note("released")
            self._by_its_owner("released", key, step.owner, stands)
            self.granted.pop(key, None)

    def _taken(self, key: str, step: TakeClaim, now_us: int, fence: int, stands: _Granted | None) -> None:
        if stands is not None and stands.owner == step.owner:
            return  # the same claim, asked for once more
        self.run.note("claimed")
        if key in self.answers:
            self.run.violated(f"{key} was claimed after its answer had been stored")
        if stands is not None:
            self.run.note("taken_over")
            if now_us < stands.until_us:
                self.run.violated(f"{key} was claimed twice: {stands.until_us - now_us} µs of lease were left")
        if fence <= self.fence[key]:
            self.run.violated(f"the fence of {key} went from {self.fence[key]} to {fence}")
        self.fence[key] = fence
        self.granted[key] = _Granted(step.owner, fence, now_us + step.lease_us)

    def _settled(self, key: str, step: Settle, stands: _Granted | None) -> None:
        if key in self.answers:
            if self.answers[key] != step.answer:
                self.run.violated(f"a second answer was stored for {key}")
            return
        self.run.note("settled")
        self._by_its_owner("settled", key, step.owner, stands)
        self.answers[key] = step.answer
        self.granted.pop(key, None)

    def _by_its_owner(self, done: str, key: str, owner: str, stands: _Granted | None) -> None:
        if stands is None or stands.owner != owner:
            self.run.violated(f"{key} was {done} by an owner whose claim does not stand")


class _Shop:
    def __init__(self, run: Run) -> None:
        self.run = run
        chance = run.chance
        self.stepped = chance.random() < 0.4
        self.ledger = _Ledger(run)
        self.lease_s = chance.choice([1.0, 5.0, 20.0])
        self.backend, self.client = run.store(self.ledger.tell, run.plan(stepped=self.stepped))
        self.nodes = [self._node() for _ in range(chance.randint(1, 4))]
        self.bank = {key: Fence(key) for key in _KEYS}
        self.begun: dict[str, list[int]] = defaultdict(list)
        self.serial = 0

    def _node(self) -> tuple[FaultyStates, Idempotency]:
        chance, client = self.run.chance, self.client.another()
        waits = chance.random() < 0.5
        return client, Idempotency(
            "checkout",
            store=client,
            lease_s=self.lease_s,
            on_busy="wait" if waits else "refuse",
            wait_max_s=chance.choice([0.5, 30.0]),
            signals=self.backend.signals if chance.random() < 0.5 else None,
            fingerprint=lambda _shop, _key, amount: amount,
            owners=lambda: f"{chance.getrandbits(64):016x}",
        )

    async def caller(self, number: int) -> None:
        """One caller: tries, gives up or dies, and comes again."""
        chance = self.run.chance
        for _ in range(chance.randint(1, 5)):
            await asyncio.sleep(chance.choice([0.0, 0.1, 3.0]) * chance.random())
            place = chance.randrange(len(self.nodes))
            client, node = self.nodes[place]
            key, amount = chance.choice(_KEYS), 1 if chance.random() < 0.95 else 2
            task = asyncio.ensure_future(node.call(key, _Shop.work, self, key, amount))
            if chance.random() < 0.2:
                await asyncio.wait({task}, timeout=chance.random() * 2 * self.lease_s)
                if chance.random() < 0.5 and not task.done():
                    # The process is gone: not even its clean-up reaches the store.
                    client.cut()
                    self.nodes[place] = self._node()
                    self.run.note("died", number)
                task.cancel()
            await self._ended(key, task)

    async def _ended(self, key: str, task: asyncio.Task[Any]) -> None:
        expected: dict[type[BaseException], str] = {
            ClaimHeld: "held",
            KeyReused: "reused",
            ClaimLost: "lost",
            StaleFence: "late_write",
            BackendError: "outage",
            _Declined: "work_failed",
        }
        try:
            answer = await task
        except asyncio.CancelledError:
            self.run.note_cancelled(task, "cancelled", key)
            return
        except tuple(expected) as error:
            kind = next(kind for kind in expected if isinstance(error, kind))
            self.run.note(expected[kind], key, str(error))
            return
        self._answered(key, answer)

    def _answered(self, key: str, answer: str) -> None:
        stored = self.ledger.answers.get(key)
        self.run.note("answered", key, answer)
        if stored is None:
            self.run.violated(f"{key} was answered {answer!r} without an answer in the store")
        elif answer.encode() not in stored:
            self.run.violated(f"{key} was answered {answer!r}, and the store says {stored!r}")

    async def work(self, key: str, amount: int) -> str:
        """Charge the bank, slowly, sometimes twice as long as the lease."""
        chance, fence = self.run.chance, current_claim().fence
        if not self.stepped and key in self.ledger.answers:
            self.run.violated(f"work on {key} began after its answer was stored")
        self.begun[key].append(SYSTEM.now_us())
        mine = len(self.begun[key])
        try:
            await asyncio.sleep(chance.choice([0.0, 0.1, 1.0, 2.5]) * chance.random() * self.lease_s)
            if chance.random() < 0.1:
                raise _Declined
            self.bank[key].check(fence)
            self.serial += 1
            self.run.note("worked", key, fence, self.serial)
            return f"receipt-{self.serial:06}-{amount}"
        finally:
            # In the very microsecond in which a lease ends, one may go as the other comes.
            over_us = [SYSTEM.now_us() - began_us for began_us in self.begun[key][mine:]]
            if not self.stepped and max(over_us, default=0) > 0:
                self.run.violated(f"two pieces of work on {key} at once, for {max(over_us)} µs")

    async def peace(self) -> None:
        """The network is well again and every lease is over: each key must be workable."""
        self.client.calm()
        await asyncio.sleep(200.0 + 4 * self.lease_s)
        # The last copies arrive, and may take a claim for a caller that ended long ago.
        client, node = self._node()
        await client.cells(Space("peace", IntegersCodec())).read("any")
        await asyncio.sleep(200.0 + 4 * self.lease_s)
        for key in _KEYS:
            replayed = key in self.ledger.answers
            for _ in range(20):
                try:
                    answer = await node.call(key, _Shop.work, self, key, 1)
                except (_Declined, KeyReused) as error:
                    self.run.note("once_more", repr(error))
                    if isinstance(error, KeyReused):
                        break
                else:
                    self._answered(key, answer)
                    self.run.note("replayed" if replayed else "worked_in_peace", SYSTEM.now_us())
                    break
            else:
                self.run.violated(f"{key} can't be worked on though all is well")


class _Declined(Exception):
    """The bank says no this time."""
