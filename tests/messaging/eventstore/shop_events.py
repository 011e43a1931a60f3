"""Events and an aggregate for these tests: orders that are placed and paid."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

from sdpatterns.messaging.eventstore import Aggregate
from sdpatterns.messaging.schema import EventSchema, EventType


@dataclasses.dataclass(frozen=True)
class Placed:
    order: str
    cents: int


@dataclasses.dataclass(frozen=True)
class Paid:
    cents: int


@dataclasses.dataclass(frozen=True)
class Named:
    customer: str
    name: str
    city: str | None = None


@dataclasses.dataclass(frozen=True)
class Place:
    cents: int


@dataclasses.dataclass(frozen=True)
class Pay:
    cents: int


@dataclasses.dataclass(frozen=True)
class Order:
    open_cents: int = 0
    names: tuple[str, ...] = ()


class Refused(Exception):
    """The customer cannot do that."""


Event: TypeAlias = Placed | Paid | Named
Command: TypeAlias = Place | Pay | Named


def decide(state: Order, command: Command) -> list[Event]:
    if isinstance(command, Place):
        return [Placed("o", command.cents)]
    if isinstance(command, Named):
        return [command]
    if command.cents > state.open_cents:
        raise Refused(f"{state.open_cents} are open")
    return [Paid(command.cents)] if command.cents else []


def evolve(state: Order, event: Event) -> Order:
    if isinstance(event, Named):
        return dataclasses.replace(state, names=(*state.names, event.name))
    change = event.cents if isinstance(event, Placed) else -event.cents
    return dataclasses.replace(state, open_cents=state.open_cents + change)


ORDERS: Aggregate[Order, Command, Event] = Aggregate(name="order", initial=Order(), decide=decide, evolve=evolve)


def in_cents(data: dict[str, Any]) -> dict[str, Any]:
    return {"order": data["order"], "cents": data["euros"] * 100}


SCHEMA = EventSchema(
    EventType("placed", Placed, version=2, upcasters={1: in_cents}, earlier_names=["Placed"]),
    EventType("paid", Paid),
    EventType("named", Named, subject="customer", personal={"name": "(deleted)", "city": None}),
)


class Cipher:
    """A key for each subject, which can be forgotten; async or plain."""

    def __init__(self, *, is_async: bool) -> None:
        self.keys: dict[str, int] = {}
        self.forgotten: set[str] = set()
        self.is_async = is_async

    def forget(self, subject: str) -> None:
        self.forgotten.add(subject)

    def encrypt(self, subject: str, data: bytes) -> Any:
        if subject in self.forgotten:
            raise LookupError(f"the key of {subject} is gone")
        key = self.keys.setdefault(subject, len(self.keys) + 1)
        return self._given(bytes(byte ^ key for byte in data))

    def decrypt(self, subject: str, data: bytes) -> Any:
        gone = subject in self.forgotten
        return self._given(None if gone else bytes(byte ^ self.keys[subject] for byte in data))

    def _given(self, data: bytes | None) -> Any:
        async def later() -> bytes | None:
            return data

        return later() if self.is_async else data
