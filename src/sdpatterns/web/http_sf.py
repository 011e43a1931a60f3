"""Structured fields, by the library http-sf.

Source: RFC 9651, https://www.rfc-editor.org/rfc/rfc9651
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

try:
    import http_sf
except ImportError as missing:
    raise ImportError('RateLimit and Idempotency-Key need http-sf: pip install "sdpatterns[web]"') from missing

__all__ = ["Member", "string_item", "string_list"]

Member: TypeAlias = tuple[str, Mapping[str, int | str | bytes]]
"""A string and its parameters."""


_SIMPLE = re.compile(r'"[\x20\x21\x23-\x5b\x5d-\x7e]*"')
_INTEGER_MAX = 10**15 - 1  # RFC 9651, 3.3.1


def string_item(lines: Sequence[str]) -> str:
    """The string that a field of one Item carries; its parameters, if any, are ignored.

    Raises `ValueError` for anything else: a token, a number, two items, an unquoted word.
    """
    if not lines:
        raise ValueError("the field is missing")
    if len(lines) == 1 and _SIMPLE.fullmatch(lines[0]):
        # One string without escapes and parameters is its own value; reading it by the grammar costs 10 us.
        return lines[0][1:-1]
    if not lines[0].lstrip(" ").startswith('"'):
        raise ValueError('not a string: put the value in double quotes, as in "8e03978e"')
    try:
        item: Any = http_sf.parse(", ".join(lines).encode("latin-1"), tltype="item")
    except (ValueError, TypeError) as cause:
        raise ValueError("not a structured field with one item") from cause
    value = item[0]
    if type(value) is not str:
        raise ValueError("the item is not a string")
    return value


def string_list(members: Sequence[Member]) -> str:
    """A list of strings with parameters, as a field's value."""
    return ", ".join(
        _quoted(text) + "".join(_parameter(key, value) for key, value in parameters.items())
        for text, parameters in members
    )


@functools.lru_cache(maxsize=1_000)
def _quoted(text: str) -> str:
    item: Any = (text, {})
    return http_sf.ser([item])


def _parameter(key: str, value: int | str | bytes) -> str:
    # Numbers change with every answer and are written here, in a tenth of the library's time.
    if type(value) is int and abs(value) <= _INTEGER_MAX:
        return f";{key}={value}"
    item: Any = ("", {key: value})
    return http_sf.ser([item]).removeprefix('""')
