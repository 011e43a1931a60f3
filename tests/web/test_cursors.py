"""Cursors: pages that neither repeat nor hide a row, and positions that a client cannot make up."""

from __future__ import annotations

import datetime as dt
import math
import uuid
import zoneinfo
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.algorithms.signing import Signer
from sdpatterns.errors import CursorNotValid
from sdpatterns.web.cursors import Cursors, Scalar

KEY = b"k" * 32
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(position=st.lists(SCALARS, min_size=1, max_size=5))
def test_a_position_comes_back_as_it_was(position: list[Scalar]) -> None:
    cursors = Cursors(KEY)
    try:
        text = cursors.made(position, of="orders")
    except ValueError:
        assert sum(len(repr(value)) for value in position) > 200
        return
    assert list(cursors.read(text, of="orders")) == position


@given(limit=st.integers(1, 7), gone=st.sets(st.integers(0, 29)), count=st.integers(0, 30))
def test_all_rows_are_seen_once_while_others_go(limit: int, gone: set[int], count: int) -> None:
    cursors, rows, seen = Cursors(KEY), list(range(count)), []
    cursor = None
    while True:
        after = -1 if cursor is None else cursors.read(cursor, of="rows")[0]
        found = [row for row in rows if row > after][: limit + 1]  # type: ignore[operator]
        page = cursors.page(found, limit=limit, position=lambda row: (row,), of="rows")
        seen += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
        rows = [row for row in rows if row not in gone or row in seen[:-1]]
    assert len(seen) == len(set(seen))
    assert set(range(count)) - gone <= set(seen)


def test_a_cursor_of_another_list_or_key_is_refused() -> None:
    text = Cursors(KEY).made([7], of="orders?owner=ann")
    for cursors, of in [(Cursors(KEY), "orders?owner=bob"), (Cursors(b"o" * 32), "orders?owner=ann")]:
        with pytest.raises(CursorNotValid):
            cursors.read(text, of=of)
    assert Cursors(b"o" * 32, KEY).read(text, of="orders?owner=ann") == (7,)


@pytest.mark.parametrize("text", ["", "a", "=", "é", "AAAA", "A" * 2049, "null", "[1]", "../..", "\x00"])
def test_made_up_cursors_are_refused(text: str) -> None:
    with pytest.raises(CursorNotValid):
        Cursors(KEY).read(text, of="orders")


def test_a_cursor_of_a_newer_release_is_refused() -> None:
    text = Signer(KEY, purpose="web/cursor").sealed(b"3[1]", about="orders")
    with pytest.raises(CursorNotValid, match="newer release"):
        Cursors(KEY).read(text, of="orders")


@pytest.mark.parametrize(
    "position", [[], [1] * 17, [math.nan], [math.inf], [b"x"], [[1]], ["x" * 2048]], ids=lambda one: f"{one!r:.20}"
)
def test_positions_that_cannot_be_written_are_refused(position: list[Scalar]) -> None:
    with pytest.raises(ValueError, match="position"):
        Cursors(KEY).made(position, of="orders")


@pytest.mark.parametrize(("count", "has_next"), [(0, False), (2, False), (3, False), (4, True)])
def test_there_is_a_next_page_where_there_is_a_row_for_it(count: int, has_next: bool) -> None:
    page = Cursors(KEY).page(range(count), limit=3, position=lambda row: (row,), of="rows")
    assert (page.items, page.next_cursor is not None) == (list(range(min(count, 3))), has_next)


def test_a_page_has_a_row_at_least() -> None:
    with pytest.raises(ValueError, match="limit"):
        Cursors(KEY).page([1, 2], limit=0, position=lambda row: (row,), of="rows")


def test_a_position_comes_back_as_the_types_that_it_had() -> None:
    cursors = Cursors(KEY)
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    for position in (
        (dt.datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=dt.UTC), uuid.UUID(int=7)),
        (dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=berlin), Decimal("0.10"), Decimal("-1E+30")),
        (dt.date(2026, 5, 1), dt.time(23, 59), dt.timedelta(seconds=-1), None, True, 1, 1.5, "x"),
        (dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC).replace(tzinfo=None), "2026-05-01"),
    ):
        read = cursors.read(cursors.made(position, of="orders"), of="orders")
        assert read == position
        assert [(type(value), repr(value)) for value in read] == [(type(value), repr(value)) for value in position]


def test_what_an_earlier_release_reads_is_written_as_it_reads_it() -> None:
    text = Cursors(KEY).made((1, "a"), of="orders")
    assert Signer(KEY, purpose="web/cursor").opened(text, about="orders") == b'1[1,"a"]'


def test_a_value_that_would_not_come_back_is_refused_when_it_is_made() -> None:
    odd_zone = dt.timezone(dt.timedelta(hours=1), "CET")
    for value in (Decimal("NaN"), Decimal("Infinity"), dt.datetime(2026, 5, 1, tzinfo=odd_zone), object(), {"a": 1}):
        with pytest.raises(ValueError, match="position must hold"):
            Cursors(KEY).made((value,), of="orders")  # type: ignore[arg-type]


def test_a_value_that_this_release_cannot_read_is_a_400() -> None:
    for payload in (
        b'2[["unheard","x"]]',
        b'2[["datetime","x"]]',
        b'2[["datetime","2026-05-01T12:00:00 0 /No/Where"]]',
    ):
        text = Signer(KEY, purpose="web/cursor").sealed(payload, about="orders")
        with pytest.raises(CursorNotValid, match="cannot be read here"):
            Cursors(KEY).read(text, of="orders")
