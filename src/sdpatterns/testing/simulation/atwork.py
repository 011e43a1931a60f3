"""Who is at work under a lease, by true time and as the code itself sees it."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from sdpatterns.testing.simulation.cluster import Cluster, Node
from sdpatterns.testing.simulation.lines import LineJudge
from sdpatterns.testing.simulation.loop import Life

__all__ = ["AtWork", "Piece"]

_AT_ONCE_US = 2_000


class Piece(NamedTuple):
    """A piece of work: whose, under which fence, since when, and how often its node had stood still by then."""

    who: str
    fence: int
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
    """No piece of work outlives its lease, and at most as many are at a key as it has permits.

    By true time: work is cancelled at the latest when its lease ends, or at once when its node goes on after that. Only
    nodes that stood still may be at it together with others. Where the store's clock is set forward, leases end early
    for it: a holder hears of it at its next renewal, so that there others may be at work for a lease beside it.
    """

    def __init__(self, cluster: Cluster, judge: LineJudge, lease_s: float) -> None:
        self._cluster = cluster
        self._judge = judge
        self._over_max_us = int(lease_s * 1e6) if cluster.trouble.network.stepped else 0
        self._pieces: dict[str, list[Piece]] = defaultdict(list)
        judge.revived = self._revived

    def begin(self, key: str, who: str, fence: int, node: Node) -> Piece:
        """Begin to work; perhaps under the lease of one before it, which it follows."""
        piece = Piece(who, fence, node.life, node.life.times_still, self._cluster.run.now_us())
        self._pieces[key].append(piece)
        if (key, fence) not in self._judge.ends_us:
            self._cluster.run.note("followed")
        self._must_hold(key, piece)
        return piece

    def end(self, key: str, piece: Piece) -> None:
        """End it, and judge who else was at it for more than this instant."""
        run = self._cluster.run
        self._must_hold(key, piece)
        pieces = [each for each in self._pieces[key] if not each.is_over]
        self._pieces[key] = [each for each in pieces if each is not piece]
        if len(pieces) <= self._judge.slots:
            return
        over_us = run.now_us() - sorted(each.began_us for each in pieces)[self._judge.slots]
        if over_us <= self._over_max_us:
            return
        if any(each.stood_still for each in pieces):
            run.note("overlapped")
        else:
            names = ", ".join(each.who for each in pieces)
            run.violated(f"{names} worked on {key!r} at once, for {over_us} µs")

    def _revived(self, key: str, fence: int) -> None:
        """The lease had ended, and another could have come: only a node that stands still may be at work under it."""
        for piece in self._pieces[key]:
            if piece.fence == fence and not piece.life.is_still:
                self._must_hold(key, piece)

    def _must_hold(self, key: str, piece: Piece) -> None:
        run = self._cluster.run
        until_us = max(self._judge.end_us(key, piece.fence), piece.life.went_on_us)
        over_us = run.now_us() - until_us
        if over_us > _AT_ONCE_US:
            run.violated(f"{piece.who} was at work on {key!r} for {over_us} µs after its lease had ended")
