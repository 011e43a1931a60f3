"""A judge of the permits of one pattern (lease, semaphore, election), step by step, by the states of its cells."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

from sdpatterns.coordination.lease.decision import Ask, Leave, RenewLease
from sdpatterns.coordination.lease.line import Holder, Line, cohort_of
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.testing.simulation.record import Happened
from sdpatterns.testing.simulation.world import Run

__all__ = ["LineJudge"]


class LineJudge:
    """Follows the cells of a pattern, and says what no step may do.

    `ends_us` has the true time at which the lease of a key and a fence ends; `revived` is called with the two before
    a lease that was over by true time moves on.

    **Keeps**: it has an opinion of its own on each change: who may come in, who has to stay until when.
    """

    def __init__(self, run: Run, *, slots: int) -> None:
        self.run = run
        self.slots = slots
        self.lines: dict[str, Line] = {}
        self.fences: dict[str, int] = defaultdict(int)
        self.ends_us: dict[tuple[str, int], int] = {}
        self._came: Counter[str] = Counter()
        self.revived: Callable[[str, int], None] = lambda key, fence: None

    def tell(self, happened: Happened) -> None:
        """Judge one step that took effect."""
        step, now_us = happened.step, happened.now_us
        if not isinstance(step, Ask | Leave | RenewLease):
            return
        [key] = happened.keys
        before = self.lines.get(key, Line())
        [after] = happened.after
        if after is UNCHANGED:
            after = before
        elif after is GONE:
            after = Line(self.fences[key])
        self.lines[key] = after
        self._follow(key, after, now_us)
        self._must_stay(key, step, before, after, now_us)
        self._may_come(key, before, after, now_us)
        self._not_too_many(key, after, now_us)
        self._in_order(key, before, after, now_us)
        self._must_wait(key, step, before, after, now_us)
        if isinstance(step, RenewLease) and happened.answer:
            self.run.note("renewed")
            if not any(holder.who == step.who and holder.fence == step.fence for holder in before.holders):
                self.run.violated(f"{step.who} renewed {key}, which it does not hold")

    def end_us(self, key: str, fence: int) -> int:
        """The true time at which it ends. A fence that no step has given is under the lease of the one before."""
        if (key, fence) not in self.ends_us:
            fence = max(known for name, known in self.ends_us if name == key and known < fence)
        return self.ends_us[key, fence]

    def _follow(self, key: str, after: Line, now_us: int) -> None:
        """Each lease lasts as long by true time as it lasts by the store's, whose clock may be set later."""
        true_us = self.run.now_us()
        for holder in after.holders:
            name, end_us = (key, holder.fence), true_us + holder.until_us - now_us
            known_us = self.ends_us.get(name)
            if known_us is not None and known_us < true_us < end_us:
                self.revived(*name)
            self.ends_us[name] = end_us if known_us is None else max(known_us, end_us)

    def _must_stay(self, key: str, step: object, before: Line, after: Line, now_us: int) -> None:
        """A lease that is not over ends by its own release only, and never gets shorter."""
        left = {holder.fence: holder for holder in after.holders}
        for holder in before.holders:
            found = left.get(holder.fence)
            if found is None and isinstance(step, Leave) and step.who == holder.who:
                self.run.note("released")
            elif found is None and holder.until_us > now_us:
                self.run.violated(f"{holder.who} lost {key} {holder.until_us - now_us} µs before its lease was over")
            elif found is not None and found.until_us < holder.until_us:
                self.run.violated(f"the lease of {holder.who} on {key} became shorter")

    def _must_wait(self, key: str, step: Ask | Leave | RenewLease, before: Line, after: Line, now_us: int) -> None:
        """A place is lost only by its owner, or because it has held, under the lease of one right before it."""
        known = {place.who for place in before.queue}
        self._came.update(place.who for place in after.queue if place.who not in known)
        gone = known - {place.who for place in after.queue} - {holder.who for holder in after.holders}
        ahead: list[str] = []
        for place in before.queue:
            if place.who not in gone:
                ahead.append(place.who)
                continue
            if place.alive_us <= now_us or place.who == step.who:
                continue
            if isinstance(step, Ask) or place.who not in step.served:
                self.run.violated(f"{place.who} lost its place in the line of {key}")
            elif cohort_of(place.who) != cohort_of(step.who):
                self.run.violated(f"{place.who} held {key} under the lease of {step.who}, which is not of its cohort")
            # One that seemed dead stands at the end again, although it came first.
            elif self._came[place.who] == 1 and any(cohort_of(who) != cohort_of(step.who) for who in ahead):
                self.run.violated(f"{place.who} held {key} before another that stood ahead of it")
            else:
                self.run.note("served")

    def _may_come(self, key: str, before: Line, after: Line, now_us: int) -> None:
        known = {holder.fence for holder in before.holders}
        dead = [holder for holder in before.holders if holder.until_us <= now_us]
        for holder in after.holders:
            if holder.fence in known:
                continue
            self.run.note("granted")
            if dead:
                self.run.note("taken_over")
            if holder.who in {place.who for place in before.queue}:
                self.run.note("handed_over")
            if holder.fence <= self.fences[key]:
                self.run.violated(f"the fence of {key} went from {self.fences[key]} to {holder.fence}")
            self.fences[key] = max(self.fences[key], holder.fence)

    def _not_too_many(self, key: str, after: Line, now_us: int) -> None:
        live: list[Holder] = [holder for holder in after.holders if holder.until_us > now_us]
        used = sum(holder.permits for holder in live)
        if len(live) > 1 and used > self.slots:
            self.run.violated(f"{len(live)} hold {used} permits of {key}, and there are {self.slots}")

    def _in_order(self, key: str, before: Line, after: Line, now_us: int) -> None:
        """One that stands in the line and is alive is not passed by another from behind it, or from outside."""
        came = {holder.who for holder in after.holders} - {holder.who for holder in before.holders}
        waiting = {place.who for place in after.queue}
        for number, place in enumerate(before.queue if came else ()):
            passed = came - {earlier.who for earlier in before.queue[:number]}
            if passed and place.who in waiting and place.alive_us > now_us:
                self.run.violated(f"{min(passed)} got {key} before {place.who}, which stood ahead of it")
