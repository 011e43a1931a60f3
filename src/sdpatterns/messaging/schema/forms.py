"""How events of one class become dicts and come back, for each kind of class that users write."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Protocol

from sdpatterns.messaging.schema.json_schema import made_up
from sdpatterns.messaging.schema.records import RecordForm

__all__ = ["Form", "form_of"]


class Form(Protocol):
    """Writes and reads one class of events."""

    def dump(self, event: Any) -> dict[str, Any]:
        """The data of an event, by field."""
        ...

    def load(self, data: dict[str, Any]) -> Any:
        """The event with that data. May raise anything for data that does not fit."""
        ...

    def schema(self) -> dict[str, Any]:
        """The JSON schema of the data."""
        ...

    def sample(self) -> dict[str, Any]:
        """Data that `load` should take, made up."""
        ...


def form_of(kind: type[Any]) -> Form:
    """How events of that class are written. Raises TypeError for a class that cannot be."""
    if hasattr(kind, "model_validate_json") and hasattr(kind, "model_json_schema"):
        return ModelForm(kind)
    if hasattr(kind, "__struct_fields__"):
        # The library is there, because it made the class.
        from sdpatterns.messaging.schema.msgspec import StructForm

        return StructForm(kind)
    if dataclasses.is_dataclass(kind):
        return RecordForm(kind)
    name = getattr(kind, "__qualname__", repr(kind))
    raise TypeError(f"{name} is no class of events: make it a dataclass, a msgspec.Struct or a pydantic model")


class ModelForm:
    """A model of pydantic, through its own methods."""

    __slots__ = ("_kind",)

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def dump(self, event: Any) -> dict[str, Any]:
        data: dict[str, Any] = event.model_dump(mode="json", by_alias=True, round_trip=True)
        return data

    def load(self, data: dict[str, Any]) -> Any:
        # Through JSON, because a strict model takes a date as text from JSON alone. What an upcaster made of Python's
        # own types goes as text too.
        return self._kind.model_validate_json(json.dumps(data, default=str))

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = self._kind.model_json_schema(by_alias=True, mode="validation")
        return found

    def sample(self) -> dict[str, Any]:
        data: dict[str, Any] = made_up(self.schema())
        return data
