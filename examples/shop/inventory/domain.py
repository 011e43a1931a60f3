"""Stock: every received piece is free, reserved or sold, and none of them is ever below zero."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from shop.catalog.domain import DROPS, SEED_COUNT

RESERVATION_S = 120.0
DROP_PIECES = 10


class Line(NamedTuple):
    """Some pieces of one product."""

    sku: str
    quantity: int


class Stock(NamedTuple):
    """The account of one product."""

    sku: str
    received: int
    free: int
    reserved: int
    sold: int

    @property
    def balanced(self) -> bool:
        """Whether every received piece is accounted for, and none twice."""
        return min(self.free, self.reserved, self.sold) >= 0 and self.free + self.reserved + self.sold == self.received


class SoldOut(Exception):
    """There are fewer free pieces than wanted."""

    def __init__(self, sku: str) -> None:
        super().__init__(sku)
        self.sku = sku


class ReservationGone(Exception):
    """The reservation was given back, and cannot be had again under the same order."""


def merge(lines: Sequence[Line]) -> list[Line]:
    """One line per product, in the order of skus, so that all buyers take products in the same order."""
    wanted: dict[str, int] = {}
    for line in lines:
        wanted[line.sku] = wanted.get(line.sku, 0) + line.quantity
    return [Line(sku, quantity) for sku, quantity in sorted(wanted.items())]


def seed_stock(seed: int, count: int = SEED_COUNT) -> Iterator[Stock]:
    """The same deliveries for the same seed: ten pieces of a limited drop, plenty of the rest."""
    chance = random.Random(f"inventory-{seed}")
    for number in range(1, count + 1):
        pieces = DROP_PIECES if number <= DROPS else chance.randint(40, 400)
        yield Stock(f"SP-{number:05d}", pieces, pieces, 0, 0)
