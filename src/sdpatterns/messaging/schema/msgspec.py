"""Structs of msgspec as events."""

from __future__ import annotations

from typing import Any

import msgspec

from sdpatterns.messaging.schema.json_schema import made_up

__all__ = ["StructForm"]


class StructForm:
    """A `msgspec.Struct`, through msgspec."""

    __slots__ = ("_kind",)

    def __init__(self, kind: type[msgspec.Struct]) -> None:
        self._kind = kind

    def dump(self, event: msgspec.Struct) -> dict[str, Any]:
        data = msgspec.to_builtins(event, str_keys=True)
        if not isinstance(data, dict):
            raise TypeError(f"{self._kind.__qualname__} is written as a list: leave out array_like")
        return data

    def load(self, data: dict[str, Any]) -> Any:
        return msgspec.convert(data, self._kind, str_keys=True)

    def schema(self) -> dict[str, Any]:
        return msgspec.json.schema(self._kind)

    def sample(self) -> dict[str, Any]:
        data: dict[str, Any] = made_up(self.schema())
        return data
