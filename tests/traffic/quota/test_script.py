"""The script answers, writes and keeps what Python does, on random histories in a real Valkey."""

from __future__ import annotations

import random
from typing import Any

from sdpatterns.core.step import UNCHANGED
from sdpatterns.traffic.quota import Allowance
from sdpatterns.traffic.quota.calendar import Calendar, CurrentPeriods
from sdpatterns.traffic.quota.config import PERIODS
from sdpatterns.traffic.quota.decision import CODEC, Adjust, Counted, Use
from tests.backends.redis.step_scripts import Played, held_to_python, kept, many_steps, written
from tests.steps import on_one


class History:
    """Random steps on one cell, each on the state that Python's step before it left."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now_us = 1_760_000_000_000_000 + self.chance.randrange(10**15)
        self.calendar = Calendar(
            self.chance.choice(["UTC", "Europe/Berlin", "Asia/Kathmandu"]), self.chance.choice([1, 31])
        )
        self.plans = {plan: self._allowances() for plan in "ab"}
        self.periods = CurrentPeriods(self.plans, self.calendar, self.now_us)
        self.state: Any = None
        self.taken: Counted | None = None

    def _allowances(self) -> tuple[Allowance, ...]:
        periods = self.chance.sample(PERIODS, self.chance.randint(1, 4))
        return tuple(Allowance(self.chance.choice([3, 50, 10**12]), period) for period in periods)

    def step(self) -> Played:
        chance = self.chance
        self.now_us += int(chance.choice([0, 1, 10_000, 3_600_000_000, chance.random() * 10 ** chance.randint(1, 13)]))
        if chance.random() < 0.02 and self.state:
            # The very microsecond at which a count ends.
            self.now_us = max(self.now_us, min(usage.end_us for usage in self.state))
        if chance.random() < 0.8:
            self.periods = CurrentPeriods(self.plans, self.calendar, self.now_us)
        if self.taken is not None and chance.random() < 0.25:
            return self._run(Adjust(self.taken.usages, chance.choice([-2, -1, 1, 10])))
        limits = self.periods.steps[chance.choice("ab")].limits
        return self._run(Use(limits, chance.choice([1, 1, 2, 40]), look=chance.random() < 0.2))

    def _run(self, step: Any) -> Played:
        text = "" if self.state is None else CODEC.encode(self.state).decode()
        words = ["1", str(self.now_us), text, *step.script.args()]
        after, answer, keep_s, _ = on_one(step, self.state, self.now_us)
        reply = [[written(CODEC, after)], [b"%d" % self.now_us, text.encode()], [kept(keep_s)], []]
        if after is not UNCHANGED:
            self.state = after
            self.taken = answer if isinstance(step, Use) else self.taken
        return Played(words, reply, (step, answer))


@many_steps
def test_the_script_is_the_step(steps: int, valkey_url: str) -> None:
    seen = set()
    for played, reply in held_to_python(valkey_url, Use((), 1).script.source, History, steps):
        step, answer = played.about
        assert step.script.answer(reply[1]) == answer
        seen.add((type(step).__name__, answer.in_time, played.reply[0][0].split(b":")[0]))
    assert seen == {
        ("Use", True, b"1"), ("Use", True, b"unchanged"), ("Use", False, b"unchanged"),
        ("Adjust", True, b"1"), ("Adjust", True, b"unchanged"),
    }  # fmt: skip


def test_the_twin_is_named_with_its_version() -> None:
    assert Use((), 1).script.name == Adjust((), 1).script.name == "quota/1"
