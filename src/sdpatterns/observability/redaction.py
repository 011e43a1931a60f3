"""Secrets and card numbers taken out of what will be written down.

| found | becomes |
|---|---|
| the value of a key such as `password`, `access_token`, `Set-Cookie` | `***` |
| `Bearer …`, `Basic …`, `token=…`, `"secret": "…"`, `://user:password@` in a text | the same with `***` |
| a card number, with or without spaces and dashes | `**** **** **** 1111` |

A card number has the length and the first digits of an issuer's and passes the Luhn check, so that
order numbers and timestamps stay what they are, but for the few that happen to pass as well.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["is_card_number", "redacted", "redacted_text"]

MASK = "***"
DEPTH_MAX = 12

_ANYWHERE = ("password", "passwd", "passphrase", "secret", "privatekey", "apikey", "authorization")
_AT_THE_END = ("token", "cookie", "cookies", "credential", "credentials", "sessionid", "cvv", "cvc")
_SEPARATORS = str.maketrans("", "", "-_. ")

_SCHEME = re.compile(r"\b(bearer|basic)( +)[\w.~+/=-]{6,}", re.IGNORECASE)
_PAIR = re.compile(
    r"((?:password|passwd|passphrase|secret|private[_-]?key|api[_-]?key|authorization|token|cookie|cvv|cvc)"
    r"[\"']?[ ]?[=:][ ]?)(\"[^\"\n]*\"|'[^'\n]*'|[^\s\"'&,;}\])]+)",
    re.IGNORECASE,
)
_USER = re.compile(r"(://[^\s/:@]{0,256}:)[^\s/@]{1,256}@")
_DIGITS = re.compile(r"\d(?:[ -]?\d){11,}", re.ASCII)
_GROUP = re.compile(r"\d+", re.ASCII)


def redacted(value: Any, key: str = "") -> Any:
    """A copy without secrets, of nested mappings, lists, texts and numbers; `key` is what it stands under.

    **Keeps**: the shape, and whatever is neither a secret nor a card number. Deeper than
    `DEPTH_MAX` all is masked. **Costs** time in proportion to its size.
    """
    return _without(value, key, DEPTH_MAX)


def _without(value: Any, key: str, depth: int) -> Any:
    if key and _is_secret(key):
        return MASK
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _masked(str(value)) if is_card_number(str(value)) else value
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return MASK if depth == 0 else _inside(value, depth - 1)
    return value


def _inside(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {_without(name, "", 0): _without(each, str(name), depth) for name, each in value.items()}
    found = [_without(each, "", depth) for each in value]
    kind = next(kind for kind in (list, tuple, set, frozenset) if isinstance(value, kind))
    return kind(found)


@functools.lru_cache(maxsize=1_000)
def _is_secret(key: str) -> bool:
    plain = key.lower().translate(_SEPARATORS)
    return plain.endswith(_AT_THE_END) or any(word in plain for word in _ANYWHERE)


def redacted_text(text: str) -> str:
    """The text without secrets and card numbers. Linear in its length."""
    # Looking for a character costs a hundredth of what an expression does.
    if " " in text:
        text = _SCHEME.sub(rf"\1\2{MASK}", text)
    if "=" in text or ":" in text:
        text = _PAIR.sub(_kept_scheme, text)
    if "@" in text:
        text = _USER.sub(rf"\1{MASK}@", text)
    return _DIGITS.sub(lambda found: _without_cards(found[0]), text)


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


def _masked(digits: str) -> str:
    left = sum(letter.isdigit() for letter in digits) - 4
    found = []
    for letter in digits:
        found.append("*" if letter.isdigit() and left > 0 else letter)
        left -= letter.isdigit()
    return "".join(found)


def _without_cards(run: str) -> str:
    """Digits in groups: a card number begins and ends with a group, and others may stand beside it."""
    groups = [(found.start(), found.end()) for found in _GROUP.finditer(run)]
    done, found, place = 0, [], 0
    while place < len(groups):
        after = _card_at(run, groups, place)
        if after:
            start, end = groups[place][0], groups[after - 1][1]
            found += [run[done:start], _masked(run[start:end])]
            done = end
        place = after or place + 1
    return "".join([*found, run[done:]])


def _card_at(run: str, groups: list[tuple[int, int]], place: int) -> int:
    """The place after the longest card number that begins with this group, or 0."""
    digits, found = "", 0
    for number in range(place, len(groups)):
        start, end = groups[number]
        if len(digits) + end - start > 19:
            break
        digits += run[start:end]
        if is_card_number(digits):
            found = number + 1
    return found
