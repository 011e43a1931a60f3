"""Who is at work under a lease, by true time and as the code itself sees it."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from sdpatterns.testing.simulation.cluster import Cluster, Node
from sdpatterns.testing.simulation.loop import Life

__all__ = ["AtWork", "Piece"]


class Piece(NamedTuple):
    """A piece of work: whose, since when, and how often its node had stood still by then."""

    who: str
    life: Life
    times_still: int
    began_us: int

    @property
    def is_over(self) -> bool:
        """Whether its node has crashed."""
        return self.life.is_over

    @property
    def stood_still(self) -> bool:
        """Whether its node stood still since."""
        return self.life.times_still != self.times_still


class AtWork:
    """At most so many pieces of work on a key at a time, those of nodes that stood still aside.

    Where the store's clock is set forward, leases end early for it: a holder hears of it at its next renewal, so that
    there it may be at work for a lease too long.
    """

    def __init__(self, cluster: Cluster, most: int, lease_s: float) -> None:
        self._cluster = cluster
        self._most = most
        self._over_max_us = int(lease_s * 1e6) if cluster.trouble.network.stepped else 0
        self._pieces: dict[str, list[Piece]] = defaultdict(list)

    def begin(self, key: str, who: str, node: Node) -> Piece:
        """Begin to work."""
        piece = Piece(who, node.life, node.life.times_still, self._cluster.run.now_us())
        self._pieces[key].append(piece)
        return piece

    def end(self, key: str, piece: Piece) -> None:
        """End it, and judge who else was at it for more than this instant."""
        run = self._cluster.run
        pieces = [each for each in self._pieces[key] if not each.is_over]
        self._pieces[key] = [each for each in pieces if each is not piece]
        if len(pieces) <= self._most:
            return
        over_us = run.now_us() - sorted(each.began_us for each in pieces)[self._most]
        if over_us <= self._over_max_us:
            return
        if any(each.stood_still for each in pieces):
            run.note("overlapped")
        else:
            names = ", ".join(each.who for each in pieces)
            run.violated(f"{names} worked on {key!r} at once, for {over_us} µs")
