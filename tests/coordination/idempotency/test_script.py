"""The Lua script answers, writes and keeps what Python does, on random histories in a real Valkey."""

from __future__ import annotations

import random
from typing import Any

import pytest
import redis

from sdpatterns.coordination.idempotency.decision import (
    ClaimResult,
    ClaimStatus,
    Record,
    RecordCodec,
    Release,
    Renew,
    Settle,
    TakeClaim,
)
from sdpatterns.coordination.idempotency.script import ClaimScript
from sdpatterns.core.step import GONE
from tests.backends.redis.step_scripts import HARNESS, Played, held_to_python, kept, many_steps, written
from tests.steps import on_one

_CODEC = RecordCodec()
_LEASE_US = 30_000_000


class History:
    """Random steps on one cell, each on the state that Python's step before it left."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now_us = 1_760_000_000_000_000 + self.chance.randrange(10**15)
        self.state: Record | None = None
        self.fences = [0]

    def step(self) -> Played:
        self.now_us += self.chance.choice([0, 0, 1, 999, _LEASE_US // 2, _LEASE_US, 10**12])
        before, step = self.state, self._drawn()
        after, answer, keep_s, wake = on_one(step, before, self.now_us)
        if isinstance(after, Record):
            self.state = after
            self.fences = [after.fence, *self.fences][:3]
        elif after is GONE:
            self.state = None
        sent = ["1", str(self.now_us), b"" if before is None else _CODEC.encode(before), *step.script.args()]
        words = _words(answer)
        reply = [[written(_CODEC, after)], words, [kept(keep_s)], [topic.encode() for topic in wake]]
        return Played(sent, reply, f"{type(step).__name__} {words[0]!r}")

    def _drawn(self) -> Any:
        owner = self.chance.choice("ab") * 32
        fence = self.chance.choice([*self.fences, 0])
        kind = self.chance.random()
        if kind < 0.45:
            return TakeClaim(
                owner, self.chance.choice(["1f", "1f", "1f", "2e"]) * 20, self.chance.choice([1, 1500, _LEASE_US])
            )
        if kind < 0.6:
            return Renew(owner, fence, self.chance.choice([1, 1500, _LEASE_US]))
        if kind < 0.8:
            answer = self.chance.choice([b"", b"1:{}", b"two words\n", bytes(range(256))])
            return Settle(
                owner, fence, self.chance.choice([ClaimStatus.DONE, ClaimStatus.FAILED]), answer, 86_400.0015, "tópic/x"
            )
        return Release(owner, fence, "tópic/x")


def _words(answer: ClaimResult | bool) -> list[bytes]:
    if isinstance(answer, bool):
        return [b"1" if answer else b"0"]
    return [answer.status.value.encode(), b"%d" % answer.fence, b"%d" % answer.left_us, answer.answer]


@many_steps
def test_the_script_is_the_step(steps: int, valkey_url: str) -> None:
    seen = {played.about for played, _ in held_to_python(valkey_url, ClaimScript.source, History, steps)}
    assert seen == {
        *(f"TakeClaim {kind!r}" for kind in (b"c", b"b", b"r", b"d", b"e")),
        *(f"{step} {answer!r}" for step in ("Renew", "Settle", "Release") for answer in (b"0", b"1")),
    }


def test_bytes_that_are_no_record_are_an_error_and_stay(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        script = client.script_load(HARNESS % ClaimScript.source)
        with pytest.raises(redis.ResponseError, match="not an idempotency record"):
            client.evalsha(script, 0, "1", "5", "1:garbage", *TakeClaim("a", "m", 5).script.args())


def test_answers_are_read_back_as_python_gives_them() -> None:
    take = TakeClaim("a", "m", 5).script
    assert take.answer([b"d", b"7", b"9", b"\x00"]) == ClaimResult(ClaimStatus.DONE, 7, 9, b"\x00")
    assert [Renew("a", 1, 5).script.answer([word]) for word in (b"1", b"0")] == [True, False]
    assert take.name == "claim/1"
