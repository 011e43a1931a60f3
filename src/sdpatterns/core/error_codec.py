"""Declared exceptions as bytes, and back."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any, TypeAlias

from sdpatterns.core.policy import title_of
from sdpatterns.core.value_codec import ValueCodec
from sdpatterns.errors import CodecError

__all__ = ["ErrorCodec", "StoredErrors"]

StoredErrors: TypeAlias = builtins.type[Exception] | Sequence[builtins.type[Exception]]


class ErrorCodec:
    """The exceptions that count as answers, by their exact class; no other is ever built from bytes.

    `setting` is what the list of them is called where it is given. An exception is kept as its `args` and attributes,
    which have to be values that `ValueCodec` takes.
    """

    __slots__ = ("_body", "_kinds", "_setting")

    def __init__(self, kinds: StoredErrors, setting: str = "store_errors") -> None:
        listed = [kinds] if isinstance(kinds, type) else list(kinds)
        for kind in listed:
            _check(kind, setting)
        self._setting = setting
        # By name without the module, so that a stored error is still read after its class has moved.
        self._kinds = {kind.__qualname__: kind for kind in listed}
        if len(self._kinds) != len(set(listed)):
            raise ValueError(f"{setting} must list classes with different names")
        self._body = ValueCodec()

    def knows(self, error: BaseException) -> bool:
        """Whether it is declared to be an answer."""
        return self._kinds.get(type(error).__qualname__) is type(error)

    def encode(self, error: Exception, /) -> bytes:
        """Its class, args and attributes. Raises `TypeError` where they would not come back."""
        return self._body.encode(_dump(error))

    def decode(self, data: bytes, /) -> Exception:
        """A new exception equal to the stored one. Raises `CodecError` for an undeclared class."""
        return self._load(self._body.decode(data))

    def _load(self, plain: Any) -> Exception:
        name, args, attributes = plain
        kind = self._kinds.get(name)
        if kind is None:
            raise CodecError(f"the stored error {name!r} is not among {self._setting}")
        # Built as it was, without asking __init__, which may want other arguments than `args`.
        error = kind.__new__(kind, *args)
        error.args = tuple(args)
        vars(error).update(attributes)
        return error


def _check(kind: object, setting: str) -> None:
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        raise ValueError(f"{setting} must list classes of exceptions, got {title_of(kind)}")  # noqa: TRY004 - a setting


def _dump(error: Exception) -> list[Any]:
    attributes = {name: value for name, value in vars(error).items() if not name.startswith("__")}
    return [type(error).__qualname__, list(error.args), attributes]
