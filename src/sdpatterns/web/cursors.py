"""Pages of a list by keyset: the next page begins after the last row's position, wherever it is then.

```
SELECT ... WHERE (created_at, id) > (:created_at, :id) ORDER BY created_at, id LIMIT :limit + 1
                                     ^^^^^^^^^^^^^^^^ the cursor
```

Rows that come or go meanwhile neither repeat nor hide others, and page 10,000 costs what the first
one does. A cursor is signed, so that the position in it is one that the server gave.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from sdpatterns.algorithms.signing import Signer
from sdpatterns.core.values import scalar_of, scalar_text
from sdpatterns.errors import CodecError, CursorNotValid

__all__ = ["CHARS_MAX", "POSITION_MAX", "Cursors", "Page", "Scalar"]

CHARS_MAX = 2048
"""A longer cursor is neither made nor read."""
POSITION_MAX = 16
"""Values in one position."""

Scalar: TypeAlias = (
    str | int | float | bool | dt.datetime | dt.date | dt.time | dt.timedelta | uuid.UUID | Decimal | None
)
Position: TypeAlias = tuple[Any, ...]
"""The values of a position, each of a type of `Scalar`."""
T = TypeVar("T")

_VERSION = b"1"
_TYPED = b"2"
_KINDS = (dt.datetime, dt.date, dt.time, dt.timedelta, uuid.UUID, Decimal)


class Page(NamedTuple, Generic[T]):
    """Some rows, and the cursor of the next page; None on the last one."""

    items: list[T]
    next_cursor: str | None


class Cursors:
    """Makes and reads the cursors of lists.

    ```python
    from sdpatterns.web.cursors import Cursors

    cursors = Cursors(b"32 bytes of secrets.token_bytes.")
    orders = [{"id": number} for number in range(1, 8)]

    def after(position):
        return [order for order in orders if not position or order["id"] > position[0]]

    page = cursors.page(after(None)[:4], limit=3, position=lambda order: (order["id"],), of="orders")
    assert [order["id"] for order in page.items] == [1, 2, 3]
    rows = after(cursors.read(page.next_cursor, of="orders"))
    assert [order["id"] for order in rows] == [4, 5, 6, 7]
    ```

    A position holds strings, numbers, booleans, None, dates and times, UUIDs and Decimals, and each comes back
    as the type that it was. `of` is what the list is: its name with whatever decides order, filter and
    owner. A cursor of one list is refused for another. Keys are those of a `Signer`: the first signs, each is trusted.

    **Keeps**: what is read is a position that was made with one of the keys for the same list. It is
    signed, not encrypted: its holder can read it. **May fail** with `CursorNotValid`, which is a 400.
    **Costs** under 10 µs and no state.
    """

    def __init__(self, *keys: bytes) -> None:
        self._signer = Signer(*keys, purpose="web/cursor")

    def made(self, position: Sequence[Scalar], *, of: str) -> str:
        """The cursor of a position. Raises `ValueError` for one that cannot be written, or is too long."""
        if not 1 <= len(position) <= POSITION_MAX:
            raise ValueError(f"position must have 1 to {POSITION_MAX} values, got {len(position)}")
        for value in position:
            if not _is_scalar(value):
                raise ValueError(
                    "position must hold strings, finite numbers, booleans, dates and times, UUIDs, Decimals or None,"
                    f" got {value!r}"
                )
        plain = [_written(value) for value in position]
        # What an earlier release can read is written as it reads it.
        version = _TYPED if any(isinstance(value, list) for value in plain) else _VERSION
        text = self._signer.sealed(version + json.dumps(plain, separators=(",", ":")).encode(), about=of)
        if len(text) > CHARS_MAX:
            raise ValueError(f"position must fit into a cursor of {CHARS_MAX} characters, got {len(text)}")
        return text

    def read(self, cursor: str, *, of: str) -> Position:
        """The position of a cursor. Raises `CursorNotValid` for anything that `made` did not give."""
        if len(cursor) > CHARS_MAX:
            raise CursorNotValid("the cursor is too long")
        try:
            payload = self._signer.opened(cursor, about=of)
        except CodecError as cause:
            raise CursorNotValid("the cursor is not one of this list") from cause
        if payload[:1] not in {_VERSION, _TYPED}:
            raise CursorNotValid("the cursor was made by a newer release")
        try:
            return tuple(_read(value) for value in json.loads(payload[1:]))
        except CodecError as cause:
            raise CursorNotValid("the cursor holds a value that cannot be read here") from cause

    def page(self, rows: Sequence[T], *, limit: int, position: Callable[[T], Sequence[Scalar]], of: str) -> Page[T]:
        """A page of `rows`, which are one more than `limit` where there is a next page."""
        if limit < 1:
            raise ValueError(f"limit must be 1 or more, got {limit!r}")
        items = list(rows[:limit])
        if len(rows) <= limit:
            return Page(items, None)
        return Page(items, self.made(position(items[-1]), of=of))


def _is_scalar(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if type(value) is Decimal:
        return value.is_finite()
    return value is None or isinstance(value, (str, int)) or type(value) in _KINDS


def _written(value: Scalar) -> Any:
    """The value as JSON: itself, or its kind and its text."""
    if type(value) not in _KINDS:
        return value
    try:
        tagged = scalar_text(value)
    except TypeError as cause:
        raise ValueError(f"position must hold values that come back as they are: {cause}") from cause
    return None if tagged is None else list(tagged)


def _read(value: Any) -> Any:
    return scalar_of(*value) if isinstance(value, list) else value
