"""The fields of an answer that its client wants, and no more.

```
?fields=id,lines(sku,quantity)        {"id": 7, "lines": [{"sku": "a", "quantity": 2}]}
```
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

__all__ = ["CHARS_MAX", "DEPTH_MAX", "FIELDS_MAX", "Fields"]

CHARS_MAX = 2048
DEPTH_MAX = 8
FIELDS_MAX = 128

Tree: TypeAlias = dict[str, "Tree | None"]
"""The fields under a name; None is everything under it."""

_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*|[(),]", re.ASCII)


class Fields:
    """A selection of fields, as deep as it was written.

    ```python
    from sdpatterns.web.fields import Fields

    known = Fields.parse("id,total,lines(sku,quantity)")
    order = {"id": 7, "total": 12, "cost": 5, "lines": [{"sku": "a", "quantity": 2, "shelf": "B4"}]}
    assert Fields.parse("id,lines(sku)", known=known).of(order) == {"id": 7, "lines": [{"sku": "a"}]}
    assert known.of(order)["lines"] == [{"sku": "a", "quantity": 2}]
    ```

    `known` bounds what may be asked for. A name alone stands for all that is known under it, so an
    answer never shows more than `known` does.

    **Keeps**: the order and the values of the answer. **May fail**: `ValueError` at `parse`, with words
    for the client (a 400), for text that is malformed, too long, too deep, too many, or unknown.
    **Costs** time in proportion to the answer.
    """

    __slots__ = ("_tree",)

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    @classmethod
    def parse(cls, text: str, *, known: Fields | None = None) -> Fields:
        """The selection that a query parameter asks for."""
        if len(text) > CHARS_MAX:
            raise ValueError(f"fields must have at most {CHARS_MAX} characters")
        tree = _Reading(text).tree()
        return cls(tree if known is None else _within(tree, known._tree, ""))  # noqa: SLF001 - one of our own

    def of(self, value: Any) -> Any:
        """What is selected of an object, or of each object of a list."""
        return _selected(value, self._tree)


class _Reading:
    """One pass over the text. `place` and `token` are where it stands."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._count = 0
        self._tokens = self._split()

    def _split(self) -> Iterator[tuple[str, int]]:
        place = 0
        while place < len(self._text):
            found = _TOKEN.match(self._text, place)
            if found is None:
                raise ValueError(f"fields has something unexpected at character {place + 1}")
            yield found.group(), place
            place = found.end()
        yield "", place

    def tree(self) -> Tree:
        tree, end = self._level(1)
        if end[0]:
            raise self._unexpected(end)
        return tree

    def _level(self, depth: int) -> tuple[Tree, tuple[str, int]]:
        """Names with commas between, and the token after them."""
        if depth > DEPTH_MAX:
            raise ValueError(f"fields must be at most {DEPTH_MAX} deep")
        tree: Tree = {}
        while True:
            name, after = self._name(), next(self._tokens)
            below: Tree | None = None
            if after[0] == "(":
                below, close = self._level(depth + 1)
                if close[0] != ")":
                    raise self._unexpected(close)
                after = next(self._tokens)
            tree[name] = _merged(tree[name], below) if name in tree else below
            if after[0] != ",":
                return tree, after

    def _name(self) -> str:
        token = next(self._tokens)
        if token[0] in {"", "(", ")", ","}:
            raise self._unexpected(token)
        self._count += 1
        if self._count > FIELDS_MAX:
            raise ValueError(f"fields must name at most {FIELDS_MAX}")
        return token[0]

    def _unexpected(self, token: tuple[str, int]) -> ValueError:
        return ValueError(f"fields has {token[0] or 'its end'!r} at character {token[1] + 1}, unexpected")


def _merged(one: Tree | None, other: Tree | None) -> Tree | None:
    if one is None or other is None:
        return None
    both = dict(one)
    for name, below in other.items():
        both[name] = _merged(both[name], below) if name in both else below
    return both


def _within(asked: Tree, known: Tree, above: str) -> Tree:
    found: Tree = {}
    for name, below in asked.items():
        if name not in known:
            raise ValueError(f"fields names {above + name!r}, which is unknown")
        limit = known[name]
        if below is not None and limit is None:
            raise ValueError(f"fields asks for parts of {above + name!r}, which has none")
        found[name] = limit if below is None or limit is None else _within(below, limit, f"{above}{name}.")
    return found


def _selected(value: Any, tree: Tree | None) -> Any:
    if tree is None:
        return value
    if isinstance(value, Mapping):
        return {name: _selected(part, tree[name]) for name, part in value.items() if name in tree}
    if isinstance(value, (list, tuple)):
        return [_selected(each, tree) for each in value]
    return value
