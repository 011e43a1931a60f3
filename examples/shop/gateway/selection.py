"""What a visitor has narrowed the list of products down to, and the way from there to the next list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple
from urllib.parse import urlencode

from shop.catalog.search import PRICE_MAX_MINOR
from shop.gateway.domain import money

SORTS = {"featured": "Featured first", "price": "Lowest price first", "-price": "Highest price first"}
_GROUPS = {"category": "Category", "maker": "Maker", "price": "Price"}


class Choice(NamedTuple):
    """A link of a facet: what it says, where it leads, how many products wait there."""

    label: str
    url: str
    products: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """The parameters of a list of products, as they stand in its address."""

    q: str = ""
    category: str = ""
    maker: str = ""
    price: str = ""
    stock: str = ""
    sort: str = ""
    cursor: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Selection:
        """The selection that an address means."""
        return cls(**{field.name: query.get(field.name, "").strip() for field in fields(cls)})

    @property
    def in_stock(self) -> bool:
        """Whether sold out products are left out."""
        return self.stock == "in"

    @property
    def title(self) -> str:
        """The list in a few words."""
        if self.q:
            return f"Results for “{self.q}”"
        return " by ".join(part for part in (self.category, self.maker) if part) or "All products"

    def url(self, **changes: str) -> str:
        """The address of this list with something changed, from its first page unless a cursor is given."""
        wanted = replace(self, **{"cursor": "", **changes})
        filled = {field.name: getattr(wanted, field.name) for field in fields(wanted) if getattr(wanted, field.name)}
        return f"/products?{urlencode(filled)}" if filled else "/products"

    def query(self) -> dict[str, str]:
        """The selection in the catalog's own parameters."""
        low, _, high = self.price.partition("-")
        return {
            "q": self.q,
            "category": self.category,
            "maker": self.maker,
            "price_from": low,
            "price_below": high,
            "sort": self.sort,
            "cursor": self.cursor,
        }

    def chips(self) -> Iterator[tuple[str, str]]:
        """Each choice that narrows the list, and the address without it."""
        if self.q:
            yield f"“{self.q}”", self.url(q="")
        if self.category:
            yield self.category, self.url(category="")
        if self.maker:
            yield self.maker, self.url(maker="")
        if self.price:
            yield price_words(self.price), self.url(price="")
        if self.in_stock:
            yield "In stock", self.url(stock="")

    def facets(self, counts: Mapping[str, list[dict[str, Any]]]) -> Iterator[tuple[str, list[Choice]]]:
        """The groups of links, each with its counts; a choice that is taken leads back out of it."""
        for name, heading in _GROUPS.items():
            choices = [self._choice(name, row) for row in counts[name]]
            yield heading, [choice for choice in choices if choice.products or choice.chosen]

    def _choice(self, name: str, row: Mapping[str, Any]) -> Choice:
        value = f"{row['price_from']}-{row['price_below']}" if name == "price" else row["name"]
        chosen = getattr(self, name) == value
        label = price_words(value) if name == "price" else value
        return Choice(label, self.url(**{name: "" if chosen else value}), row["count"], chosen)


def price_words(band: str) -> str:
    """A price range in words."""
    low, _, high = band.partition("-")
    if not (low.isascii() and low.isdigit() and high.isascii() and high.isdigit() and len(low + high) < 20):
        return "Price"
    if int(low) == 0:
        return f"Under {money(int(high))}"
    if int(high) >= PRICE_MAX_MINOR:
        return f"{money(int(low))} and more"
    return f"{money(int(low))} to {money(int(high))}"
