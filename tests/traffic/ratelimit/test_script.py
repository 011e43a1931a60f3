"""The script of each algorithm answers, writes and keeps what Python does, on random histories in a real Valkey."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.traffic.ratelimit import Algorithm, Rate
from sdpatterns.traffic.ratelimit.answer import Limit
from sdpatterns.traffic.ratelimit.decision import CODEC, Cancel, Reservation, Reserve
from tests.backends.redis.step_scripts import Played, held_to_python, kept, many_steps, written
from tests.traffic.ratelimit.algorithms import ALGORITHMS


class History:
    """Random steps on random cells, each on the state that Python's step before it left."""

    def __init__(self, algorithm: Algorithm, seed: int) -> None:
        self.algorithm = algorithm
        self.chance = random.Random(seed)
        self.now_us = 1_760_000_000_000_000 + self.chance.randrange(10**15)
        self.limits = [self._limits() for _ in range(self.chance.choice([1, 1, 2, 3]))]
        self.states: list[Any] = [None for _ in self.limits]
        self.last: list[Reservation | None] = [None for _ in self.limits]

    def _limits(self) -> tuple[Limit, ...]:
        pick = self.chance.choice
        bursts = [1, 2, 50] if self.algorithm.name in {"gcra", "leaky_bucket"} else [None]
        return tuple(
            Limit(Rate(pick([3, 7, 1000]), pick([0.01, 1.0, 86_400.0 * 366]), burst=pick(bursts)), self.algorithm)
            for _ in range(pick([1, 1, 2, 4]))
        )

    def step(self) -> Played:
        by_chance = self.chance.random() * 10 ** self.chance.randint(1, 13)
        # A window to the microsecond, too: that is where the edges are.
        self.now_us += int(self.chance.choice([0, 1, 999, 10_000, 1_000_000, by_chance, by_chance]))
        cell = self.chance.randrange(len(self.limits))
        cost = self.chance.randint(1, 3)
        kind = self.chance.random()
        taken = self.last[cell]
        if kind < 0.2 and taken is not None:
            return self._run([cell], Cancel(taken))
        wait_us = self.chance.choice([0.0, 0.0, 1.5, 1e9, 1e14])
        if kind < 0.6:
            return self._run([cell], Reserve([self.limits[cell]], cost, wait_us, look=kind < 0.3))
        return self._run(list(range(len(self.limits))), Reserve(self.limits, cost, wait_us, look=kind > 0.95))

    def _run(self, cells: Sequence[int], step: Any) -> Played:
        before = [self.states[cell] for cell in cells]
        after, answer, keeps_s, _ = step(before, self.now_us)
        for cell, state in zip(cells, after, strict=True):
            if state is not UNCHANGED:
                self.states[cell] = None if state is GONE else state
        if isinstance(step, Reserve) and len(cells) == 1 and answer[0].allowed and after[0] is not UNCHANGED:
            self.last[cells[0]] = answer[0]
        texts = ["" if state is None else CODEC.encode(state).decode() for state in before]
        words = [str(len(before)), str(self.now_us), *texts, *step.script.args()]
        about = (type(step).__name__, step.script, answer)
        return Played(words, self._reply(texts, after, keeps_s, answer), about)

    def _reply(self, texts: Sequence[str], after: Sequence[Any], keeps_s: Sequence[float], answer: Any) -> Any:
        words = [] if answer is None else [b"%d" % self.now_us, *(text.encode() for text in texts)]
        return [[written(CODEC, state) for state in after], words, [kept(keep_s) for keep_s in keeps_s], []]


def script_of(algorithm: Algorithm) -> str:
    """Its whole source."""
    script = Reserve([[Limit(Rate(3, 1.0), algorithm)]], 1).script
    assert script is not None
    return script.source


@many_steps
@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_script_is_the_step(name: str, steps: int, valkey_url: str) -> None:
    seen = set()
    for played, reply in held_to_python(
        valkey_url, script_of(ALGORITHMS[name]), partial(History, ALGORITHMS[name]), steps
    ):
        kind, script, answer = played.about
        read = script.answer(reply[1])
        assert read == answer
        seen.add((kind, played.reply[0][0].split(b":")[0]))
    # Every kind of step met every kind of end: written, unchanged or, for Cancel, gone.
    ends = {(kind, end) for kind in ("Reserve", "Cancel") for end in (b"1", b"unchanged")}
    assert seen == ends | {("Cancel", b"gone")}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_script_is_named_with_its_version(name: str) -> None:
    limit = Limit(Rate(3, 1.0), ALGORITHMS[name])
    script = Reserve([[limit]], 1).script
    assert script is not None
    assert script.name == f"{name}/1"
