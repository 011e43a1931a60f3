"""Which answers are kept, and what becomes of the others."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import enum
import pickle
import uuid
import zoneinfo
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from sdpatterns import Idempotency
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.coordination.idempotency import current_claim
from sdpatterns.core.codec import JsonCodec
from sdpatterns.core.value_codec import ValueCodec
from sdpatterns.errors import AnswerNotKept, CodecError, UnknownVersion
from sdpatterns.ports.states import StateStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Real servers need real time."""
    return "asyncio"


AT = dt.datetime(2026, 10, 25, 2, 30, 0, 7, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))

KEPT: list[Any] = [
    None, True, 7, 10**40, 1.5, -0.0, float("inf"), "", "ß\0\ud800", b"\0\xff", bytearray(b"x"), 2 - 3j, range(1, 9, 2),
    Decimal("0.10"), Decimal("-0"), Decimal("1E+400"), Decimal("NaN"), uuid.UUID(int=7), dt.date(2026, 5, 1),
    AT.replace(tzinfo=None), dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC), AT, AT.replace(fold=1),
    dt.datetime(1, 1, 1, tzinfo=dt.timezone(-dt.timedelta(hours=3, minutes=30))), AT.timetz(),
    AT.astimezone(zoneinfo.ZoneInfo("UTC")), dt.time(23, 59, 59, 999999), -dt.timedelta(microseconds=1),
    (), (1, (2, [3])), {1, "1"}, frozenset({(1, 2)}), {1: "a", "1": "b", None: 1.5}, {(1, 2): {"$": 1}},
    {"$": 1}, {"$": ["uuid", "x"]}, {"$bytes": "x"}, {"$$bytes": (1,)}, [{"a": Decimal(1), "b": [b"x", (b"y",)]}],
]  # fmt: skip


class Colour(enum.IntEnum):
    RED = 1


class Place(NamedTuple):
    x: int


class Name(str):
    __slots__ = ()


class Receipt(BaseModel):
    total: int


@dataclasses.dataclass
class Paid:
    total: int


def _endless() -> Any:
    items: list[Any] = []
    items.append(items)
    return items


NOT_KEPT: list[Callable[[], Any]] = [
    object, lambda: Receipt(total=1), lambda: Paid(1), lambda: Colour.RED, lambda: Place(1), lambda: Name("x"),
    lambda: OrderedDict(a=1), lambda: iter([]), lambda: {"deep": [{"er": {object()}}]}, lambda: "x" * 5_000,
    lambda: 10**5_000, lambda: dt.datetime(2026, 5, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")), _endless,
]  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Equal, of one type, and so inside."""
    return type(one) is type(other) and shown(one) == shown(other)


def shown(value: Any) -> object:
    """As text. Two equal sets may show their items in different orders, which depends on how this process hashes."""
    return sorted(map(repr, value)) if isinstance(value, set | frozenset) else repr(value)


async def paid(answer: Any, runs: list[int]) -> Any:
    runs.append(1)
    return answer


@pytest.fixture
async def stores(valkey_url: str, tmp_path: Path) -> AsyncIterator[list[StateStore]]:
    sqlite = SQLBackend.from_url(f"sqlite+aiosqlite:///{tmp_path}/answers.db")
    async with RedisBackend.from_url(valkey_url) as redis, sqlite as sql:
        await sql.create()
        yield [MemoryBackend().states, redis.states, sql.states]


async def test_a_replay_equals_the_first_answer_type_by_type(stores: list[StateStore]) -> None:
    for store in stores:
        once = Idempotency(f"kept {uuid.uuid4()}", store=store, fingerprint=lambda *_: "")
        for number, answer in enumerate(KEPT):
            runs: list[int] = []
            first, again = [await once.call(f"{number}", paid, copy.deepcopy(answer), runs) for _ in range(2)]
            assert same(first, answer)
            assert same(again, answer), (again, answer)
            assert runs == [1]


async def test_an_answer_that_cannot_be_kept_is_carried_out_once(stores: list[StateStore]) -> None:
    for store in stores:
        once = Idempotency(f"spent {uuid.uuid4()}", store=store, answer_bytes_max=2_000, fingerprint=lambda *_: "")
        for number, make in enumerate(NOT_KEPT):
            runs: list[int] = []
            answer = make()
            for expected in (answer, None, None):
                with pytest.raises(AnswerNotKept, match="was carried out") as caught:
                    await once.call(f"{number}", paid, answer, runs)
                assert caught.value.answer is expected
            assert runs == [1], answer


async def test_a_codec_that_fails_spends_the_key_and_says_why() -> None:
    def broken(_value: Any) -> Any:
        raise ZeroDivisionError

    once = Idempotency("till", store=MemoryBackend().states, codec=JsonCodec(broken, broken), fingerprint=lambda *_: "")
    runs: list[int] = []
    for cause in (ZeroDivisionError, type(None)):
        with pytest.raises(AnswerNotKept) as caught:
            await once.call("k", paid, 1, runs)
        assert type(caught.value.__cause__) is cause
    assert runs == [1]


async def test_work_that_stores_its_own_answer_spends_the_key_too() -> None:
    once = Idempotency("till", store=MemoryBackend().states)
    runs = 0

    async def work() -> str:
        nonlocal runs
        runs += 1
        await current_claim().store(object())
        return "never"

    for _ in range(2):
        with pytest.raises(AnswerNotKept):
            await once.call("k", work)
    assert runs == 1


async def test_what_an_earlier_release_wrote_is_read_and_what_it_can_read_is_written() -> None:
    codec, earlier = ValueCodec(), JsonCodec[Any](lambda it: it, lambda it: it)
    for plain in ({"a": [1, b"x", None]}, {"$bytes": 1}, "x"):
        assert codec.encode(plain) == earlier.encode(plain)
        assert codec.decode(earlier.encode(plain)) == plain
    with pytest.raises(UnknownVersion):
        earlier.decode(codec.encode((1,)))
    for data in (b'2:{"$":["uuid","x"]}', b'2:{"$":["unheard",[]]}', b'2:{"$":["unheard","x"]}', b"2:{"):
        with pytest.raises(CodecError):
            codec.decode(data)


def test_the_error_is_copied_without_the_answer() -> None:
    error = AnswerNotKept("till", "k", object())
    for made in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (made.name, made.key, made.answer) == ("till", "k", None)
