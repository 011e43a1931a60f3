"""Texts of the caller's as they stand in a table."""

from __future__ import annotations

import re

__all__ = ["given_text", "stored_text"]

_ESCAPES = re.compile(r"\\(.)")


def stored_text(text: str) -> str:
    r"""A space, a key or an id as it stands in the table.

    Postgres has no NUL in its texts, so that it is written as `\0` (and a backslash as two).
    """
    if "\\" in text or "\x00" in text:
        return text.replace("\\", "\\\\").replace("\x00", "\\0")
    return text


def given_text(stored: str) -> str:
    """The text that is stored so."""
    if "\\" not in stored:
        return stored
    return _ESCAPES.sub(lambda match: "\x00" if match[1] == "0" else match[1], stored)
