"""An aggregate as two plain functions: what a command leads to, and what an event changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from sdpatterns.core.codec import Codec
from sdpatterns.core.judging import plain
from sdpatterns.core.keys import check_name, join_key
from sdpatterns.core.ranges import whole
from sdpatterns.core.value_codec import ValueCodec
from sdpatterns.messaging.schema.forms import Form, form_of

__all__ = ["Aggregate", "AggregateState", "CommandResult"]

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Aggregate(Generic[S, C, E]):
    """What a thing does with commands and events: `Aggregate(name="order", initial=Order(), decide=…, evolve=…)`.

    `decide(state, command)` gives the events that the command leads to, or raises: nothing is stored then.
    `evolve(state, event)` gives the state after an event, and changes nothing of the one it got. Both may run several
    times, so they have no other effect.

    With `snapshot_every` the state is stored after so many events, and read in place of them. `snapshot_version` is the
    form of the state: give it the next number when `evolve` or the state's class changes, and the snapshots of before
    are not read. The state is a dataclass, a Struct, a model or one of Python's own values, else it needs a `codec`.
    """

    name: str
    initial: S
    decide: Callable[[S, C], Sequence[E]]
    evolve: Callable[[S, E], S]
    snapshot_every: int | None = None
    snapshot_version: int = 1
    codec: Codec[S] | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_name("Aggregate", self.name)
        plain("decide", self.decide)
        plain("evolve", self.evolve)
        whole("snapshot_version", self.snapshot_version, 1)
        if self.snapshot_every is not None:
            whole("snapshot_every", self.snapshot_every, 1)
            _ = self.state_codec

    def stream(self, key: str) -> str:
        """The stream of the one with this key."""
        return join_key(self.name, key)

    @property
    def state_codec(self) -> Codec[S]:
        """How its state is stored. Raises TypeError for a state that needs a `codec`."""
        if self.codec is not None:
            return self.codec
        kind = type(self.initial)
        if dataclasses.is_dataclass(kind) or hasattr(kind, "model_validate_json") or hasattr(kind, "__struct_fields__"):
            return _StateCodec(form_of(kind))
        ValueCodec().encode(self.initial)
        return ValueCodec()


class AggregateState(NamedTuple, Generic[S]):
    """A state, and the version and position of the last event in it; 0 where there is none."""

    state: S
    version: int
    position: int


class CommandResult(NamedTuple, Generic[S, E]):
    """What a command led to: the state after it, its events, and where the last event of the stream stands."""

    state: S
    events: Sequence[E]
    version: int
    position: int


class _StateCodec:
    """A state by the form of its class."""

    __slots__ = ("_form", "_values")

    def __init__(self, form: Form) -> None:
        self._form = form
        self._values = ValueCodec()

    def encode(self, value: Any, /) -> bytes:
        return self._values.encode(self._form.dump(value))

    def decode(self, data: bytes, /) -> Any:
        return self._form.load(self._values.decode(data))
