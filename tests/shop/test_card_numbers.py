"""An invariant of the shop: no card number in a trace, a log or a store, whatever went wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

import pytest

import shop.psp.service
from shop.stage.traces import KEPT

from .visitor import DECLINED_CARD, GOOD_CARD, Visitor

pytestmark = pytest.mark.anyio

Opening = Callable[[], AbstractAsyncContextManager[Visitor]]
SPACED = "4242 4242 4242 4242"
ODD = "5105105105105100"
WRONG = "4242424242424241"  # fails its check digit; a mistyped number must not be in a log either


def cells(database: Path) -> Iterator[str]:
    """All that a database holds, as text."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        opened.text_factory = lambda raw: raw.decode(errors="replace")
        for (table,) in opened.execute("select name from sqlite_master where type = 'table'").fetchall():
            for row in opened.execute(f'select * from "{table}"'):
                yield repr(row)


def digits_of(text: str) -> str:
    return text.replace(" ", "").replace("-", "")


def traces() -> str:
    return repr([KEPT.spans(trace.trace_id) for trace in KEPT.recent(1_000)])


def left_behind(data_dir: Path, traced: str, number: str) -> list[str]:
    """Where the number is found, however it is written."""
    found = {"traces"} if number in digits_of(traced) else set()
    files = [path for path in data_dir.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"shop.log"}
    assert sum(path.suffix in {".db", ".sqlite", ".sqlite3"} for path in files) >= 3, files
    found |= {path.name for path in files if number in digits_of(path.read_bytes().decode("latin-1"))}
    for path in files:
        if path.read_bytes()[:15] == b"SQLite format 3":
            found |= {f"{path.name}: {row}" for row in cells(path) if number in digits_of(row)}
    return sorted(found)


async def test_no_card_number_is_left_anywhere(opening: Opening, data_dir: Path) -> None:
    cards = {GOOD_CARD: 201, DECLINED_CARD: 402, SPACED: 201, ODD: 201, WRONG: 422}
    async with opening() as visitor:
        for card, status in cards.items():
            answer = await visitor.buy(card=card)
            assert answer.status_code == status, answer.text
            assert digits_of(card) not in digits_of(answer.text)
        traced = traces()
        assert "CircuitBreaker psp" in traced
        assert [left_behind(data_dir, traced, digits_of(card)) for card in cards] == [[]] * len(cards)
    assert [left_behind(data_dir, traced, digits_of(card)) for card in cards] == [[]] * len(cards)


async def test_a_card_number_in_an_exception_is_not_logged(
    opening: Opening, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = []

    async def charge(self: Any, key: str, order_id: str, amount_minor: int, card_number: str) -> Any:
        raised.append(card_number)
        raise RuntimeError(f"the bank choked on {card_number} ({key})")

    monkeypatch.setattr(shop.psp.service.Provider, "charge", charge)
    async with opening() as visitor:
        answers = await asyncio.gather(*(visitor.buy(card=card) for card in (GOOD_CARD, SPACED, ODD)))
        traced = traces()
    assert {answer.status_code for answer in answers} == {503}
    assert set(raised) == {GOOD_CARD, ODD}
    assert "the bank choked on ************" in traced
    assert "the bank choked on ************" in (data_dir / "shop.log").read_text()
    assert [left_behind(data_dir, traced, card) for card in (GOOD_CARD, ODD)] == [[], []]
