"""Point (i) of `docs/design/ports.md`: a store without a clock says by how much its clients' clocks may differ.

Two clients share a lease in a store that compares and sets but has no clock, so that each client brings
its own. All pairs of clocks within the bound are tried, and all instants at which the second client asks.
"""

from __future__ import annotations

import dataclasses
import itertools

LEASE = 10
SKEW = 3


@dataclasses.dataclass(frozen=True)
class Client:
    """A clock that differs from the true time by `off`."""

    off: int

    def now(self, true: int) -> int:
        return true + self.off


def held_until_true(holder: Client, granted: int) -> int:
    """When the holder stops: its own clock shows the end of the lease, counted from before it asked."""
    return granted + LEASE


def may_take(asker: Client, true: int, until: int, wait: int) -> bool:
    """Whether the asker's clock says that the lease which ends `until` is over, `wait` later."""
    return asker.now(true) >= until + wait


def overlaps(wait: int) -> list[tuple[int, int, int]]:
    """Clocks and instants at which the second client takes the lease while the first still holds it."""
    found = []
    clocks = [(a, b) for a, b in itertools.product(range(-SKEW, SKEW + 1), repeat=2) if abs(a - b) <= SKEW]
    for (a, b), true in itertools.product(clocks, range(1, 3 * LEASE)):
        holder, asker = Client(a), Client(b)
        until = holder.now(0) + LEASE  # written into the cell by the holder's clock at true time 0
        if may_take(asker, true, until, wait) and true < held_until_true(holder, 0):
            found.append((a, b, true))
    return found


def test_two_hold_one_lease_where_a_client_trusts_its_own_clock() -> None:
    assert overlaps(wait=0)


def test_no_client_takes_a_lease_too_early_where_expiry_is_judged_later_by_the_bound() -> None:
    assert overlaps(wait=SKEW) == []


def test_a_bound_that_is_one_too_small_is_noticed() -> None:
    assert overlaps(wait=SKEW - 1)
