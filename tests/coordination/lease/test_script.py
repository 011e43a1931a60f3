"""The Lua script answers, writes and keeps what Python does, on random histories in a real Valkey."""

from __future__ import annotations

import random
from typing import Any

import pytest
import redis

from sdpatterns.coordination.lease.decision import Ask, Grant, Leave, Left, RenewLease, Turn, TurnStatus
from sdpatterns.coordination.lease.line import Line, LineCodec
from sdpatterns.coordination.lease.script import LineScript
from sdpatterns.core.step import GONE, UNCHANGED
from tests.backends.redis.step_scripts import HARNESS, Played, held_to_python, kept, steps_each_time, written
from tests.steps import on_one

_CODEC = LineCodec()
_LEASE_US = 10_000_000


class History:
    """Random steps on one line, each on the state that Python's step before it left."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now_us = 1_760_000_000_000_000 + self.chance.randrange(10**15)
        self.state: Line | None = None
        self.slots = self.chance.choice([1, 1, 2, 3, 1 << 30])
        # Where no time passes the lines grow long.
        self.is_calm = self.chance.random() < 0.5
        letters, tails = self.chance.choice([("ab", ["", "@node%2F1", "~1", "~2"]), ("a", ["~1"])])
        self.callers = [f"{self.chance.choice(letters)}#{i:x}{self.chance.choice(tails)}" for i in range(5)]

    def step(self) -> Played:
        long_us = [_LEASE_US // 3, _LEASE_US // 2, _LEASE_US, 10**12]
        self.now_us += self.chance.choice([0, 0, 1, 999, 999, *([] if self.is_calm else long_us)])
        before, step = self.state, self._drawn()
        after, answer, keep_s, wake = on_one(step, before, self.now_us)
        if isinstance(after, Line):
            self.state = after
        elif after is GONE:
            self.state = None
        sent = ["1", str(self.now_us), b"" if before is None else _CODEC.encode(before), *step.script.args()]
        words = _words(answer)
        reply = [[written(_CODEC, after)], words, [kept(keep_s)], [topic.encode() for topic in wake]]
        about = f"{type(step).__name__} {words[0].decode()} {min(len(words) // 3, 2)}"
        if isinstance(answer, Left):
            about += f" {min(len(answer.successors), 2)} behind"
        if isinstance(step, RenewLease) and before is not None and after is not UNCHANGED and not answer:
            about += " served"
        return Played(sent, reply, about)

    def _drawn(self) -> Any:
        who, kind = self.chance.choice(self.callers), self.chance.random()
        slots = self.slots if self.chance.random() < 0.95 else self.chance.choice([1, 2])
        announce = self.chance.choice(["", "tópic/x"])
        if kind < 0.6:
            return Ask(
                who,
                _LEASE_US if self.is_calm else self.chance.choice([1, 1500, _LEASE_US]),
                permits=self.chance.choice([1, 1, slots]),
                slots=slots,
                alive_us=self.chance.choice([0, 2, _LEASE_US, _LEASE_US, _LEASE_US]),
                waiters_max=self.chance.choice([2, 100, 100]),
                announce=announce,
            )
        if kind < 0.75:
            fences = [holder.fence for holder in (self.state or Line()).holders]
            fence, lease_us = self.chance.choice([*fences, 7]), self.chance.choice([1, _LEASE_US])
            return RenewLease(who, fence, lease_us, served=self._some())
        holders = [holder.who for holder in (self.state or Line()).holders]
        if holders and self.chance.random() < 0.5:
            who = holders[0]
        most = self.chance.choice([0, 1, 16, 16])
        return Leave(who, slots=slots, announce=announce, successors_max=most, served=self._some())

    def _some(self) -> tuple[str, ...]:
        return tuple(self.chance.sample(self.callers, self.chance.choice([0, 0, 0, 0, 0, 1, 2])))


def _words(answer: Turn | Left | bool) -> list[bytes]:
    if isinstance(answer, bool):
        return [b"1" if answer else b"0"]
    if isinstance(answer, Turn):
        return [answer.status.value.encode(), b"%d" % answer.fence, b"%d" % answer.left_us]
    words = [b"1" if answer.was_held else b"0", "".join([f";{who}" for who in answer.successors]).encode()]
    for grant in answer.granted:
        words += [grant.who.encode(), b"%d" % grant.fence, b"%d" % grant.lease_us]
    return words


@steps_each_time(10_000)  # until each answer has been seen
def test_the_script_is_the_step(steps: int, valkey_url: str) -> None:
    seen = {played.about for played, _ in held_to_python(valkey_url, LineScript.source, History, steps)}
    assert seen >= {
        *(f"Ask {status.value} 1" for status in TurnStatus),
        *(f"RenewLease {answer} 0" for answer in "01"),
        "RenewLease 0 0 served",
        *(f"Leave {answer} {served} 0 behind" for answer in "01" for served in (0, 1)),
        "Leave 1 2 0 behind",
        "Leave 1 1 1 behind",
        "Leave 1 1 2 behind",
    }


def test_bytes_that_are_no_line_are_an_error_and_stay(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        script = client.script_load(HARNESS % LineScript.source)
        with pytest.raises(redis.ResponseError, match="not a line of permits"):
            client.evalsha(script, 0, "1", "5", "1:garbage", *Ask("a", 5).script.args())


def test_answers_are_read_back_as_python_gives_them() -> None:
    assert Ask("a", 5).script.answer([b"w", b"7", b"9"]) == Turn(TurnStatus.WAITING, 7, 9)
    assert [RenewLease("a", 1, 5).script.answer([word]) for word in (b"1", b"0")] == [True, False]
    assert Leave("a").script.answer([b"0", b""]) == Left(was_held=False)
    both = (Grant("b", 1, 2), Grant("c", 2, 5))
    assert Leave("a").script.answer([b"1", b"", b"b", b"1", b"2", b"c", b"2", b"5"]) == Left(True, both)
    assert Leave("a").script.answer([b"1", b";c;d", b"b", b"1", b"2"]) == Left(True, (Grant("b", 1, 2),), ("c", "d"))
    assert LineScript.name == "line/1"
