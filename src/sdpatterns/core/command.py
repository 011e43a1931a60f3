"""What the commands of this package (`python -m sdpatterns. ...`) share: finding an object, printing columns."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

__all__ = ["columns", "named"]

T = TypeVar("T")


def named(name: str, kind: type[T], example: str) -> T:
    """The object that `module:attribute` names. Raises ImportError, AttributeError, TypeError or `ValueError`."""
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"name it as module:attribute, such as {example}")
    sys.path.insert(0, "")
    found: Any = getattr(importlib.import_module(module), attribute)
    if not isinstance(found, kind):
        raise TypeError(f"that is a {type(found).__name__} and no {kind.__name__}")
    return found


def columns(rows: Sequence[tuple[object, ...]]) -> list[str]:
    """Columns as wide as their longest cell; numbers stand to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines: list[str] = []
    for row, cells in zip(texts, rows, strict=True):
        padded = [
            text.rjust(width) if isinstance(cell, int | float) else text.ljust(width)
            for text, cell, width in zip(row, cells, widths, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return lines
