"""Checks of values from outside. A value that passes is safe to store, print and count."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

from sdpatterns.observability.redaction import redacted_text

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
_DIGITS = re.compile(r"\d(?:[ -]?\d){11,}", re.ASCII)
_UNPRINTABLE = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp"})


class FieldError(NamedTuple):
    """One field that was refused, by its JSON pointer."""

    pointer: str
    detail: str


class InvalidInput(ValueError):
    """Input that was understood and cannot be accepted; names every field at fault, never its value."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{error.pointer} {error.detail}" for error in errors))
        self.errors = errors


def printable(text: str) -> bool:
    """Whether a text is free of control characters, lone surrogates and line separators."""
    return not any(unicodedata.category(character) in _UNPRINTABLE for character in text)


def has_card_number(text: str) -> bool:
    """Whether a card's number stands somewhere in a text, where people put it by mistake."""
    return any(redacted_text(digits) != digits for digits in _DIGITS.findall(text))


def is_card_number(text: str) -> bool:
    """Whether an identifier is a card's number; one drawn at random, with letters in it, holds such a run by chance."""
    return not any(character.isalpha() for character in text) and has_card_number(text)


def is_slug(text: str) -> bool:
    """Whether a text can serve as an identifier in a URL; a card's number cannot, for identifiers are logged."""
    return _SLUG.match(text) is not None and not is_card_number(text)


def whole(query: Mapping[str, str], name: str) -> int:
    """A whole number from a query, from 0 on; 0 where there is none or it is none."""
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


class Fields:
    """Takes typed fields out of a decoded JSON object and gathers everything that is wrong with them.

    Keeps: `done()` raises exactly when a field was refused; a refused field yields a harmless stand-in.
    """

    def __init__(self, body: object, pointer: str = "", errors: list[FieldError] | None = None) -> None:
        self._pointer = pointer
        self._errors: list[FieldError] = [] if errors is None else errors
        self._body: Mapping[str, Any] = {}
        if isinstance(body, Mapping):
            self._body = body
        else:
            self._errors.append(FieldError(pointer or "/", "must be an object"))

    def refuse(self, name: str, detail: str) -> None:
        """Record that a field cannot be accepted."""
        self._errors.append(FieldError(f"{self._pointer}/{name}", detail))

    def has(self, name: str) -> bool:
        """Whether a field is there at all, and not null."""
        return self._body.get(name) is not None

    def nested(self, name: str) -> Fields:
        """The fields of an object inside this one."""
        return Fields(self._body.get(name), f"{self._pointer}/{name}", self._errors)

    def text(
        self,
        name: str,
        *,
        length_max: int = 120,
        pattern: re.Pattern[str] | None = None,
        hint: str = "",
        is_card: bool = False,
    ) -> str:
        """A non-empty printable text, stripped; `pattern`, when given, must match all of it.

        A card's number is taken only by the field for it, `is_card`: all others are stored.
        """
        value = self._body.get(name)
        if not isinstance(value, str) or not value.strip():
            self.refuse(name, "must be a text that is not empty")
            return ""
        value = value.strip()
        if len(value) > length_max:
            self.refuse(name, f"must have at most {length_max} characters")
        elif not printable(value):
            self.refuse(name, "must not contain control characters")
        elif not is_card and has_card_number(value):
            self.refuse(name, "must not contain a card number")
        elif pattern is not None and not pattern.fullmatch(value):
            self.refuse(name, hint or "has an unknown format")
        return value

    def slug(self, name: str) -> str:
        """An identifier of letters, digits, `_` and `-`."""
        value = self._body.get(name)
        if isinstance(value, str) and is_slug(value):
            return value
        self.refuse(name, "must be 1 to 64 letters, digits, '_' or '-'")
        return ""

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number within bounds; true, 1.0 and "1" are no numbers here."""
        value = self._body.get(name)
        if type(value) is int and low <= value <= high:
            return value
        self.refuse(name, f"must be a whole number from {low} to {high}")
        return low

    def flag(self, name: str) -> bool:
        """True or false; 1, "true" and null are none of them."""
        value = self._body.get(name)
        if isinstance(value, bool):
            return value
        self.refuse(name, "must be true or false")
        return False

    def done(self) -> None:
        """Raise InvalidInput when anything was refused."""
        if self._errors:
            raise InvalidInput(*self._errors)
