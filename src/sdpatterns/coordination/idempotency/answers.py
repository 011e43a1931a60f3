"""Answers and declared errors as bytes, and back."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any, TypeAlias

from sdpatterns.core.codec import JsonCodec
from sdpatterns.core.policy import title_of
from sdpatterns.errors import CodecError

__all__ = ["ErrorCodec", "StoredErrors", "plain_json"]

StoredErrors: TypeAlias = builtins.type[Exception] | Sequence[builtins.type[Exception]]


def _as_it_is(value: Any) -> Any:
    return value


def plain_json() -> JsonCodec[Any]:
    """Answers of plain JSON types and bytes. A tuple comes back as a list."""
    return JsonCodec(_as_it_is, _as_it_is)


class ErrorCodec:
    """The exceptions that count as answers, by their exact class; no other is ever built from bytes.

    An exception is kept as its `args` and attributes, which have to be plain JSON.
    """

    __slots__ = ("_body", "_kinds")

    def __init__(self, kinds: StoredErrors) -> None:
        listed = [kinds] if isinstance(kinds, type) else list(kinds)
        for kind in listed:
            _check(kind)
        self._kinds = {kind.__qualname__: kind for kind in listed}
        if len(self._kinds) != len(set(listed)):
            raise ValueError("store_errors must list classes with different names")
        self._body: JsonCodec[Exception] = JsonCodec(_dump, self._load)

    def knows(self, error: BaseException) -> bool:
        """Whether it is declared to be an answer."""
        return self._kinds.get(type(error).__qualname__) is type(error)

    def encode(self, error: Exception, /) -> bytes:
        """Its class, args and attributes. Raises `TypeError` where they are not plain JSON."""
        return self._body.encode(error)

    def decode(self, data: bytes, /) -> Exception:
        """A new exception equal to the stored one. Raises `CodecError` for an undeclared class."""
        return self._body.decode(data)

    def _load(self, plain: Any) -> Exception:
        name, args, attributes = plain
        kind = self._kinds.get(name)
        if kind is None:
            raise CodecError(f"the stored error {name!r} is not among store_errors")
        # Built as it was, without asking __init__, which may want other arguments than `args`.
        error = kind.__new__(kind, *args)
        error.args = tuple(args)
        vars(error).update(attributes)
        return error


def _check(kind: object) -> None:
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        raise ValueError(f"store_errors must list classes of exceptions, got {title_of(kind)}")  # noqa: TRY004 - a setting


def _dump(error: Exception) -> list[Any]:
    attributes = {name: value for name, value in vars(error).items() if not name.startswith("__")}
    return [type(error).__qualname__, list(error.args), attributes]
