"""Workers that take messages from one queue over a bad network, are slow, and die.

Promises: a message is leased to one worker at a time, and of one key one message at a time, in the order in which they
were committed; fences grow from claim to claim, and none settles or extends anything once a greater one was given; no
message is handed out before its time or counts an attempt wrongly; what a publisher was told is there was there; and
when the trouble is over, a worker that sleeps until it is woken or told to ask again gets all that was not settled.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sdpatterns.errors import BackendError
from sdpatterns.ports.queue import Claimed, Complete, Message, Park, Requeue, Settlement
from sdpatterns.testing.faults import FaultyQueue
from sdpatterns.testing.simulation.record import QueueCall
from sdpatterns.testing.simulation.world import Run

__all__ = ["QueueWorld"]

_KEYS = (None, None, "k1", "k2")
_PEACE_S = 3_600.0


class QueueWorld:
    """See the module."""

    name = "queue"
    sometimes = (
        "delayed", "unsent", "lost_before", "lost_after", "copied", "away", "parted", "stepped",
        "published", "dropped", "published_again", "withdrawn", "claimed", "taken_over", "extended", "completed",
        "given_back", "parked", "redriven", "discarded", "late", "outage", "died", "slept",
    )  # fmt: skip

    async def play(self, run: Run) -> None:
        """Some publishers, workers and an operator, trouble, then peace, then the judgement."""
        floor = _Floor(run)
        await run.all_of(floor.everybody())
        await floor.peace()


class _Known:
    """What is known of one message that is in the queue."""

    def __init__(self, message: Message, due_us: int) -> None:
        self.key = message.key
        self.due_us = due_us
        self.fence = 0
        self.attempt = 0
        self.is_held = False
        self.is_parked = False


class _Shelf:
    """What the queue did, and what may follow from it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.known: dict[str, _Known] = {}
        self.ever: set[str] = set()
        self.lines: dict[str, list[str]] = defaultdict(list)
        self.fences: dict[str, int] = defaultdict(int)

    def tell(self, call: QueueCall) -> None:
        """Judge one call that took effect."""
        self.run.note(call.verb, call.now_us, repr(call.answer))
        if call.verb == "claim":
            for claimed in call.answer.messages:
                self._claimed(claimed, call.now_us)
            return
        for what, is_done in zip(call.about, call.answer, strict=True) if call.verb in _JUDGED else ():
            getattr(self, f"_{call.verb}")(what, call, is_done=is_done)

    def _publish(self, message: Message, call: QueueCall, *, is_done: bool) -> None:
        if is_done == (message.id in self.known):
            was = "" if is_done else "not "
            self.run.violated(f"publish answered {is_done} for {message.id}, which was {was}there")
        if not is_done:
            self.run.note("dropped")
            return
        self.run.note("published_again" if message.id in self.ever else "published")
        self.ever.add(message.id)
        self.known[message.id] = _Known(message, call.now_us + int(message.delay_s * 1e6))
        self._stand_last(message.id)

    def _stand_last(self, name: str) -> None:
        key = self.known[name].key
        if key is not None:
            self.lines[key].append(name)

    def _gone(self, name: str) -> None:
        key = self.known[name].key
        if key is not None and name in self.lines[key]:
            self.lines[key].remove(name)

    def _claimed(self, claimed: Claimed, now_us: int) -> None:
        found = self.known.get(claimed.id)
        if found is None or found.is_parked:
            self.run.violated(f"{claimed.id} was handed out, though it is {'parked' if found else 'not there'}")
            return
        self.run.note("taken_over" if found.is_held else "claimed")
        if now_us < found.due_us:
            what = "its lease" if found.is_held else "its delay"
            self.run.violated(f"{claimed.id} was handed out {found.due_us - now_us} µs before the end of {what}")
        line = [claimed.id] if found.key is None else self.lines[found.key]
        if line[0] != claimed.id:
            self.run.violated(f"{claimed.id} was handed out before {line[0]}, which is ahead of it in their key")
        if claimed.fence <= self.fences[claimed.id]:
            self.run.violated(f"the fence of {claimed.id} went from {self.fences[claimed.id]} to {claimed.fence}")
        if claimed.attempt != found.attempt + 1:
            self.run.violated(f"attempt {claimed.attempt} of {claimed.id} came after attempt {found.attempt}")
        found.is_held, found.attempt, found.due_us = True, claimed.attempt, claimed.leased_until_us
        found.fence = self.fences[claimed.id] = claimed.fence

    def _stands(self, claimed: Claimed) -> bool:
        found = self.known.get(claimed.id)
        return found is not None and found.is_held and found.fence == claimed.fence

    def _extend(self, claimed: Claimed, call: QueueCall, *, is_done: bool) -> None:
        if is_done != self._stands(claimed):
            self.run.violated(f"extend answered {is_done} for a claim on {claimed.id} that it does not fit")
        if is_done:
            self.run.note("extended")
            self.known[claimed.id].due_us = call.now_us + int(call.lease_s * 1e6)

    def _settle(self, settlement: Settlement, call: QueueCall, *, is_done: bool) -> None:
        name = settlement.claimed.id
        if is_done != self._stands(settlement.claimed):
            self.run.violated(f"settle answered {is_done} for a claim on {name} that it does not fit")
        if not is_done:
            self.run.note("late")
            return
        found = self.known[name]
        found.is_held = False
        if isinstance(settlement, Complete):
            self.run.note("completed")
            self._gone(name)
            del self.known[name]
        elif isinstance(settlement, Requeue):
            self.run.note("given_back")
            found.due_us = call.now_us + int(settlement.after_s * 1e6)
            found.attempt -= not settlement.counts
        else:
            self.run.note("parked")
            self._gone(name)
            found.is_parked = True

    def _withdraw(self, name: str, call: QueueCall, *, is_done: bool) -> None:
        found = self.known.get(name)
        may_go = found is not None and not found.is_parked and not (found.is_held and found.due_us > call.now_us)
        if is_done != may_go:
            self.run.violated(f"withdraw answered {is_done} for {name}")
        if is_done:
            self.run.note("withdrawn")
            self._gone(name)
            del self.known[name]

    def _redrive(self, name: str, call: QueueCall, *, is_done: bool) -> None:
        if is_done:
            self.run.note("redriven")
            found = self.known[name]
            found.is_parked, found.attempt, found.due_us = False, 0, call.now_us
            self._stand_last(name)

    def _discard(self, name: str, call: QueueCall, *, is_done: bool) -> None:
        if is_done:
            self.run.note("discarded")
            del self.known[name]


_JUDGED = frozenset({"publish", "extend", "settle", "withdraw", "redrive", "discard"})


class _Floor:
    """The people of the world."""

    def __init__(self, run: Run) -> None:
        self.run = run
        chance = run.chance
        self.shelf = _Shelf(run)
        self.lease_s = chance.choice([1.0, 5.0, 20.0])
        self.backend, self.queue = run.queue(self.shelf.tell, run.plan(stepped=chance.random() < 0.4))

    def everybody(self) -> Sequence[Any]:
        """The work of all of them."""
        chance = self.run.chance
        publishers = [self.publisher(number) for number in range(chance.randint(1, 3))]
        workers = [self.worker(number) for number in range(chance.randint(1, 4))]
        return [*publishers, *workers, self.operator()]

    async def publisher(self, number: int) -> None:
        """Publishes, and sends again what it has no answer for."""
        chance, queue = self.run.chance, self.queue.another()
        for turn in range(chance.randint(2, 8)):
            messages = [self._message(f"{number}-{turn}-{part}") for part in range(chance.randint(1, 3))]
            for _ in range(4):
                try:
                    await queue.publish(messages)
                except BackendError:
                    self.run.note("outage", number)
                    await asyncio.sleep(chance.random() * 3.0)
                    continue
                missing = [message.id for message in messages if message.id not in self.shelf.ever]
                if missing:
                    self.run.violated(f"{missing[0]} was published, and never was in the queue")
                break
            await asyncio.sleep(chance.choice([0.0, 0.3, 4.0]) * chance.random())

    def _message(self, name: str) -> Message:
        chance = self.run.chance
        return Message(
            id=name,
            payload=name.encode(),
            key=chance.choice(_KEYS),
            tenant=chance.choice(["", "t1"]),
            delay_s=chance.choice([0.0, 0.0, 3.0]) * chance.random(),
            rank_s=chance.choice([0.0, 0.0, 5.0, -5.0]),
        )

    async def worker(self, number: int) -> None:
        """Claims, works and settles, is too slow now and then, and dies now and then."""
        chance, queue = self.run.chance, self.queue.another()
        for _ in range(chance.randint(4, 15)):
            try:
                claims = await queue.claim(chance.randint(1, 4), self.lease_s)
                if not claims.messages:
                    await self._sleep(queue)
                elif chance.random() < 0.15:
                    # The process is gone: nothing of it reaches the store any more.
                    queue.client.cut()
                    queue = self.queue.another()
                    self.run.note("died", number)
                else:
                    await self._work(queue, list(claims.messages))
            except BackendError:
                self.run.note("outage", number)
                await asyncio.sleep(chance.random() * self.lease_s)

    async def _work(self, queue: FaultyQueue, claims: list[Claimed]) -> None:
        chance = self.run.chance
        for _ in range(chance.randint(0, 2)):
            await asyncio.sleep(chance.choice([0.1, 0.5, 1.2]) * chance.random() * self.lease_s)
            standing = await queue.extend(claims, self.lease_s)
            claims = [claimed for claimed, stands in zip(claims, standing, strict=True) if stands]
        await asyncio.sleep(chance.choice([0.0, 0.5, 1.5]) * chance.random() * self.lease_s)
        await queue.settle([self._ending(claimed) for claimed in claims])

    def _ending(self, claimed: Claimed) -> Settlement:
        chance = self.run.chance
        luck = chance.random()
        if luck < 0.6:
            return Complete(claimed)
        if luck < 0.85:
            return Requeue(claimed, chance.choice([0.0, 2.0]), counts=chance.random() < 0.7)
        return Park(claimed, "broken")

    async def operator(self) -> None:
        """Looks at dead letters, and takes back what was published."""
        chance, queue = self.run.chance, self.queue.another()
        for _ in range(chance.randint(2, 6)):
            await asyncio.sleep(chance.random() * 8.0)
            try:
                letters = [letter.id for letter in await queue.parked(3)]
                await (queue.redrive if chance.random() < 0.7 else queue.discard)(letters)
                if chance.random() < 0.5:
                    await queue.withdraw([f"0-{chance.randrange(8)}-0"])
            except BackendError:
                self.run.note("outage", "operator")

    async def _sleep(self, queue: FaultyQueue) -> None:
        """Until it is woken, or the time that the queue has named."""
        async with self.backend.signals.subscribe(queue.topic) as subscription:
            # Asked once more, because something may have come between the claim and the subscription.
            due_in_s = (await queue.claim(0, self.lease_s)).due_in_s
            self.run.note("slept", due_in_s)
            await subscription.wait(5.0 if due_in_s is None else min(due_in_s, 5.0))

    async def peace(self) -> None:
        """The network is well again: all that is left is handed out, in time and in order."""
        self.queue.client.calm()
        queue = self.queue.another()
        # The last copies arrive.
        await asyncio.sleep(60.0)
        await queue.depth()
        # And one worker more dies.
        await queue.claim(2, self.lease_s)
        try:
            async with asyncio.timeout(_PEACE_S):
                await self._drain(queue)
        except TimeoutError:
            waiting = [name for name, known in self.shelf.known.items() if not known.is_parked]
            self.run.violated(f"{len(waiting)} messages were never handed out again; first: {waiting[0]}")
        depth = await queue.depth()
        parked = sum(known.is_parked for known in self.shelf.known.values())
        if depth[:4] != (0, 0, 0, parked):
            self.run.violated(f"the depth is {depth[:4]} when all is done and {parked} are parked")

    async def _drain(self, queue: FaultyQueue) -> None:
        async with self.backend.signals.subscribe(queue.topic) as subscription:
            while True:
                claims = await queue.claim(10, self.lease_s)
                await queue.settle([Complete(claimed) for claimed in claims.messages])
                if not claims.messages:
                    if all(known.is_parked for known in self.shelf.known.values()):
                        return
                    await subscription.wait(claims.due_in_s)
