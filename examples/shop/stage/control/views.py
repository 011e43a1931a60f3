"""What services answer when the control room looks at them: one request to each replica."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlencode

from shop.service_client import ServiceClient

PAGE_MAX = 1_000  # rows; a page with fewer is the last one

Row = dict[str, Any]


class Question(NamedTuple):
    """What is asked of a service besides its pulse: `books` only if they are not of version `unless`."""

    live: Sequence[str] = ()
    books: Sequence[str] = ()
    unless: str = ""

    def query(self) -> str:
        """The question as the query of an address."""
        parts = [("live", path) for path in self.live] + [("book", path) for path in self.books]
        return urlencode([*parts, ("unless", self.unless)]) if parts else ""


Beats: TypeAlias = Mapping[str, Any]
"""The pulse of each replica of a context by its address; None for one that is away."""


class View(NamedTuple):
    """The answers of a context's replicas, in their order; `told` is the place of the one that was asked the most."""

    asked_s: float
    addresses: Sequence[str]
    replicas: Sequence[Any]
    told: int

    @property
    def pulses(self) -> Beats:
        """The pulse of each replica."""
        found = zip(self.addresses, self.replicas, strict=True)
        return {address: one and one["pulse"] for address, one in found}

    @property
    def live(self) -> dict[str, Any]:
        """What one of the replicas says of the moment."""
        return dict((self.replicas[self.told] or {}).get("live", {}))

    @property
    def books(self) -> dict[str, Any] | None:
        """What the books say; None where they say the same as before."""
        found: dict[str, Any] | None = (self.replicas[self.told] or {}).get("books")
        return found

    @property
    def version(self) -> str:
        """Of which version the books are."""
        return str((self.replicas[self.told] or {}).get("version", ""))

    @property
    def problem(self) -> str | None:
        """Why there is no whole answer; empty where there is one, and None where there is no answer."""
        one = self.replicas[self.told]
        return None if one is None else str(one["problem"])

    @property
    def is_quiet(self) -> bool:
        """Whether nothing happens in any replica, and none of them has a fault."""
        return all(
            pulse and not pulse["rate"] and pulse["fault"] is None and not any(call["rate"] for call in pulse["calls"])
            for pulse in self.pulses.values()
        )


class Reading(NamedTuple):
    """One reading of a book, from a place on: pages of rows, each after the last row of the one before."""

    base: str
    after: str | int
    rows_in: str
    numbered_by: str

    @property
    def first(self) -> str:
        """Where the first page is."""
        return f"{self.base}{self.after}"

    async def to_the_end(self, service: ServiceClient, first: Row) -> list[Row]:
        """All rows, the first page of which is here."""
        page: list[Row] = first[self.rows_in]
        rows = list(page)
        while len(page) == PAGE_MAX:
            page = (await service.ask("GET", f"{self.base}{rows[-1][self.numbered_by]}"))[self.rows_in]
            rows += page
        return rows


def changed_since(path: str, since_us: int) -> Reading:
    """A reading of a ledger: its orders that have changed since an instant."""
    return Reading(f"{path}?since_us={since_us}&after=", "", "orders", "order_id")


def newer_than(path: str, number: int, rows_in: str = "visits") -> Reading:
    """A reading of a book to which lines are only added: those after a number."""
    return Reading(f"{path}?after=", number, rows_in, "number")
