"""A script runs on states of its codec's own version; any other is left to Python."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import finish
from sdpatterns.errors import CodecError, UnknownVersion
from sdpatterns.ports.states import Space
from tests.backends.redis.steps import Count, CountAll


class OldAndNew(IntegersCodec):
    """Version 2 counts in tenths; version 1 is read and brought forward."""

    def __init__(self) -> None:
        super().__init__(version=2)

    def decode(self, data: bytes, /) -> tuple[int, ...]:
        state = super().decode(data)
        return tuple(10 * count for count in state) if data.startswith(b"1:") else state


@pytest.fixture
def spaces(valkey_url: str) -> Any:
    with RedisBackend.from_url(valkey_url, blocking=True) as backend:
        name = f"versions/{secrets.token_hex(4)}"
        yield lambda codec: backend.states.cells(Space(name, codec))


def test_a_script_leaves_a_newer_state_as_it_is(spaces: Any) -> None:
    newer, ours = spaces(IntegersCodec(version=2)), spaces(IntegersCodec(version=1))
    finish(newer.transact("a", Count(script=False)))
    with pytest.raises(UnknownVersion):
        finish(ours.transact("a", Count(script=True)))
    with pytest.raises(UnknownVersion):
        finish(ours.transact_many(["b", "a"], CountAll(script=True)))
    assert finish(newer.read("a")) == (1,)
    assert finish(ours.read("b")) is None


def test_python_brings_an_older_state_forward_under_a_script(spaces: Any) -> None:
    old, new = spaces(IntegersCodec(version=1)), spaces(OldAndNew())
    finish(old.transact("a", Count(script=True)))
    assert finish(new.transact("a", Count(script=True))) == 11
    assert finish(new.read("a")) == (11,)


@pytest.mark.parametrize("forged", [b"", b"no cell", b"x|1:5", b"|1:5"])
def test_a_value_that_is_no_cell_is_refused(spaces: Any, valkey_url: str, forged: bytes) -> None:
    import redis

    cells = spaces(IntegersCodec())
    finish(cells.transact("a", Count(script=True)))
    with redis.Redis.from_url(valkey_url) as admin:
        [name] = [name for name in admin.scan_iter() if name.startswith(b"sdp:" + cells.space.name.encode())]
        admin.set(name, forged)
        for script in (True, False):
            with pytest.raises(CodecError):
                finish(cells.transact("a", Count(script=script)))
        assert admin.get(name) == forged
