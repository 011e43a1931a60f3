"""Secrets and card numbers taken out of what will be written down.

| found | becomes |
|---|---|
| the value of a key such as `password`, `access_token`, `Set-Cookie` | `***` |
| `Bearer …`, `Basic …`, `token=…`, `"secret": "…"`, `Cookie: …`, `://user:password@` in a text | the same with `***` |
| a card number, with or without spaces and dashes of any kind | `**** **** **** 1111` |

A card number has the length and the first digits of an issuer's and passes the Luhn check, so that
order numbers and timestamps stay what they are, except the few that happen to pass as well.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["is_card_number", "redacted", "redacted_name", "redacted_text"]

MASK = "***"
DEPTH_MAX = 12
VALUES_MAX = 100_000
_CARD_CHARS_MIN = 12

_ANYWHERE = ("password", "passwd", "passphrase", "secret", "privatekey", "apikey", "authorization")
_AT_THE_END = ("token", "cookie", "cookies", "credential", "credentials", "sessionid", "cvv", "cvc")
_SEPARATORS = str.maketrans("", "", "-_. ")

# Basic credentials are base64: lower-case letters alone are a word ("basic settings").
_SCHEME = re.compile(r"\b((?i:bearer)(?= +[^\s\"',;]{6})|(?i:basic)(?= +[^\s\"',;]+[A-Z0-9=]))( +)[^\s\"',;]+")
_AUTHORIZATION = re.compile(
    r"(authorization[\"']?[ \t]{0,4}[=:][ \t]{0,4}[a-z][\w-]{2,20} +)"
    r"((?:[\w-]+=(?:\"[^\"\n]*\"|[^\s,\"']+)(?:, *)?)+|[^\s\"',;]+)",
    re.IGNORECASE,
)
_COOKIE = re.compile(r"(cookie[ ]?:[ ]?)([^\s\"';,]+(?:;[ ]?[\w.-]+(?:=[^\s\"';,]*)?)*)", re.IGNORECASE)
_PAIR = re.compile(
    r"((?:(?:password|passwd|passphrase|secret|private[_-]?key|api[_-]?key|authorization)[\w.-]{0,40}"
    r"|token|cookies?|credentials?|session[_-]?id|cvv|cvc)"
    r"\\{0,7}[\"']?[ \t]{0,4}(?:=>|=|:|%3D|%3A)[ \t]{0,4})"
    # Quoted inside of something quoted; quoted, to the end of the line where it was cut off; a word.
    r"((\\{1,7})\"[^\n]*?(?<!\\)\3\"|[bru]{0,2}\"(?:[^\"\\\n]|\\.)*\"?|[bru]{0,2}'(?:[^'\\\n]|\\.)*'?"
    r"|[^\s\"'&,;}\])]+)",
    re.IGNORECASE,
)
_IN_PAIRS = ("pass", "secret", "key", "authorization", "token", "cookie", "credential", "session", "cvv", "cvc")
_USER = re.compile(r"(://[^\s/:@]*:)[^\s/]+@")
_BETWEEN = r"(?:[ \t+\xad\xa0\u1680\u2000-\u2015\u202f\u205f\u2060\u2212\u3000\ufeff-]|%20|%2B)"
_DIGITS = re.compile(rf"\d(?:{_BETWEEN}{{0,3}}\d){{11,}}")
_GROUP = re.compile(r"(?:%20|%2B)*(\d+)")


def redacted(value: Any, key: str = "") -> Any:
    """A copy without secrets, of nested mappings, lists, texts and numbers; `key` is what it stands under.

    **Keeps**: the shape, and whatever is neither a secret nor a card number. Deeper than
    `DEPTH_MAX`, and beyond `VALUES_MAX` values, all is masked. **Costs** time in proportion to its size.
    """
    return _without(value, key, DEPTH_MAX, [VALUES_MAX])


def _without(value: Any, key: str, depth: int, left: list[int]) -> Any:
    if key and _is_secret(key):
        return MASK
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, bytes):
        return redacted_text(value.decode("latin-1")).encode("latin-1")
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        # What refers to itself in many places has no end that could be reached.
        left[0] -= len(value)
        return MASK if depth == 0 or left[0] < 0 else _inside(value, depth - 1, left)
    return value


def _number(value: float) -> Any:
    if isinstance(value, bool) or not 10**11 <= abs(value) < 10**19 or value != int(value):
        return value
    digits = str(abs(int(value)))
    return f"{'*' * (len(digits) - 4)}{digits[-4:]}" if is_card_number(digits) else value


def _inside(value: Any, depth: int, left: list[int]) -> Any:
    if isinstance(value, Mapping):
        return {_key(name, left): _without(each, _name(name), depth, left) for name, each in value.items()}
    # A header is often a pair.
    is_pair = isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str | bytes)
    keys = ("", _name(value[0])) if is_pair else ("",) * len(value)
    found = [_without(each, key, depth, left) for each, key in zip(value, keys, strict=True)]
    kind = next(kind for kind in (list, tuple, set, frozenset) if isinstance(value, kind))
    return kind(found)


def _key(name: Any, left: list[int]) -> Any:
    return redacted_name(name) if type(name) is str else _without(name, "", 0, left)


def _name(key: Any) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)


@functools.lru_cache(maxsize=1_000)
def _is_secret(key: str) -> bool:
    plain = key.lower().translate(_SEPARATORS)
    return plain.endswith(_AT_THE_END) or any(word in plain for word in _ANYWHERE)


def redacted_text(text: str) -> str:
    """The text without secrets and card numbers. Linear in its length."""
    # Looking for a word costs a hundredth of what an expression does.
    lower = text.casefold()
    if "bearer " in lower or "basic " in lower:
        text = _SCHEME.sub(rf"\1\2{MASK}", text)
    if "=" in text or ":" in text or "%3" in text:
        if "authorization" in lower:
            text = _AUTHORIZATION.sub(rf"\1{MASK}", text)
        if "cookie" in lower:
            text = _COOKIE.sub(rf"\1{MASK}", text)
        if any(map(lower.__contains__, _IN_PAIRS)):
            text = _PAIR.sub(_kept_scheme, text)
    if "@" in text:
        text = _USER.sub(rf"\1{MASK}@", text)
    return text if len(text) < _CARD_CHARS_MIN else _DIGITS.sub(lambda found: _without_cards(found[0]), text)


@functools.lru_cache(maxsize=1_000)
def redacted_name(name: str) -> str:
    """`redacted_text` of what is called by few names, such as a key or a span: each is looked at once."""
    return redacted_text(name)


def _kept_scheme(found: re.Match[str]) -> str:
    # `Authorization: Bearer ***` says more than `Authorization: *** ***`.
    return found[0] if found[2].lower() in {"bearer", "basic"} else f"{found[1]}{MASK}"


def is_card_number(digits: str) -> bool:
    """Whether some issuer could have given out this number of 12 to 19 digits."""
    return 12 <= len(digits) <= 19 and digits.isascii() and digits.isdigit() and _is_issued(digits) and _luhn(digits)


def _is_issued(digits: str) -> bool:
    size, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == "4":
        return size in {13, 16, 19}
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return size == 16
    if two in {34, 37}:
        return size == 15
    if two in {36, 38, 39} or 3000 <= four <= 3059 or 3528 <= four <= 3589:
        return size >= (16 if two == 35 else 14)
    return two == 50 or 56 <= two <= 69


def _luhn(digits: str) -> bool:
    doubled = sum(int(digit) * 2 - (9 if digit > "4" else 0) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


def _without_cards(run: str) -> str:
    """Digits in groups: a card number begins and ends with a group, and others may stand beside it."""
    groups = [found.span(1) for found in _GROUP.finditer(run)]
    hidden: set[int] = set()
    for place in range(len(groups)):
        after = _card_at(run, groups, place)
        # One that begins with an earlier group must not hide that another begins here.
        hidden.update([at for start, end in groups[place:after] for at in range(start, end)][:-4])
    return "".join("*" if at in hidden else letter for at, letter in enumerate(run)) if hidden else run


def _card_at(run: str, groups: list[tuple[int, int]], place: int) -> int:
    """The place after the longest card number that begins with this group, or 0."""
    digits, found = "", 0
    for number in range(place, len(groups)):
        start, end = groups[number]
        if len(digits) + end - start > 19:
            break
        digits += "".join(str(int(digit)) for digit in run[start:end])
        if is_card_number(digits):
            found = number + 1
    return found
