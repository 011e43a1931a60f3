"""Reads a document, as a YAML or JSON parser gives it, field by field; each error says where it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["Section"]

T = TypeVar("T")
_REQUIRED: Any = object()


class Section:
    """A mapping of the document at a path. What was not asked for when it is `done` is refused, as a typing mistake."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, Mapping):
            raise _wrong(path or "the file", "a mapping", value)
        self.path = path
        self._value: Mapping[Any, Any] = value
        self._read: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return name in self._value

    def text(self, name: str, default: str = _REQUIRED) -> str:
        """A string."""
        return self._typed(name, default, str, "a string")

    def flag(self, name: str) -> bool:
        """A boolean, False where it is left out."""
        return self._typed(name, default=False, kind=bool, told="true or false")

    def number(self, name: str) -> float:
        """A number."""
        value = self._get(name, _REQUIRED)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _wrong(self._at(name), "a number", value)
        return float(value)

    def texts(self, name: str) -> dict[str, str]:
        """A mapping of strings to strings, empty where it is left out."""
        value = self._get(name, {})
        if not isinstance(value, Mapping) or not all(
            isinstance(key, str) and isinstance(each, str) for key, each in value.items()
        ):
            raise ValueError(f"{self._at(name)} must map strings to strings, got {value!r}")
        return dict(value)

    def section(self, name: str, *, optional: bool = False) -> Section:
        """A mapping inside."""
        return Section(self._get(name, {} if optional else _REQUIRED), self._at(name))

    def sections(self, name: str) -> list[Section]:
        """A list of mappings inside."""
        value = self._get(name, _REQUIRED)
        if not isinstance(value, list):
            raise _wrong(self._at(name), "a list", value)
        return [Section(each, f"{self._at(name)}[{number}]") for number, each in enumerate(value)]

    def done(self) -> None:
        """Refuse what was not asked for."""
        unknown = sorted(map(str, self._value.keys() - self._read))
        if unknown:
            raise ValueError(f"{self._at(unknown[0])} is unknown here; known are {', '.join(sorted(self._read))}")

    def made(self, build: Callable[..., T], **fields: Any) -> T:
        """What the fields make; an error of theirs is told with the path."""
        self.done()
        try:
            return build(**fields)
        except ValueError as wrong:
            raise ValueError(f"{self.path}: {wrong}" if self.path else str(wrong)) from None

    def _typed(self, name: str, default: Any, kind: type[T], told: str) -> T:
        value = self._get(name, default)
        if not isinstance(value, kind):
            raise _wrong(self._at(name), told, value)
        return value

    def _get(self, name: str, default: Any) -> Any:
        self._read.add(name)
        value = self._value.get(name, default)
        if value is _REQUIRED:
            raise ValueError(f"{self._at(name)} is missing")
        return value

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


def _wrong(where: str, told: str, value: object) -> ValueError:
    """Not a TypeError: the caller gave a document, and it is the document that is wrong."""
    got = "nothing" if value is None else f"{type(value).__name__} {value!r}"
    return ValueError(f"{where} must be {told}, got {got}")
