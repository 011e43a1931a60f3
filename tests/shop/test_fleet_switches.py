"""Each switch and each scenario on processes with a real Postgres and a real Valkey, over HTTP alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from sdpatterns.testing.processes import owned_directory
from shop.stage.switches import DEFENCES

from . import test_follow_ups, test_payouts, test_switches
from .running import Running, running
from .test_processes import address_of, settled
from .test_scenarios import ALONE, holds_in_the_end
from .visitor import Shift, Visitor

pytestmark = [pytest.mark.anyio, pytest.mark.long]  # the same switches run in one process each time


SWITCHES: dict[str, Callable[[Visitor], Awaitable[None]]] = {
    "outbox": test_follow_ups.test_the_outbox_switch,
    "inbox": test_follow_ups.test_the_inbox_switch,
    "jobs": test_follow_ups.test_the_jobs_switch_and_a_dead_letter_that_is_redriven,
    "fencing": test_payouts.test_a_leader_that_was_paused_pays_no_seller_twice_except_without_fencing,
    "breaker": test_switches.test_breaker,
    # The last ones leave their harm: carts bought twice, rows with wrong sums, charges without an order, orders that
    # the tables have lost. The first of them looks at all invariants.
    "idempotency": test_switches.test_idempotency,
    "upcaster": test_switches.test_upcaster,
    "undo": test_switches.test_undo,
    "position": test_switches.test_position_with_effect,
}
"""The limiter is thrown by the scenario "black-friday": a crowd is needed to exceed a share of the usual size."""


class FleetSettings:
    """Where the contexts of a running fleet answer."""

    def __init__(self, shop: Running) -> None:
        self.public = shop.url
        self.data_dir = shop.data_dir
        self.address = lambda context: address_of(shop, context)


class FleetVisitor(Visitor):
    """A visitor of a shop whose wall clock no test moves."""

    def __init__(self, http: httpx.AsyncClient, shop: Running) -> None:
        super().__init__(http, FleetSettings(shop), Shift())  # type: ignore[arg-type] # the part that tests ask for
        self.shop = shop


@pytest.fixture(scope="module")
async def fleet() -> AsyncIterator[FleetVisitor]:
    """One shop of two replicas each, for all tests: its start takes most of the time."""
    with owned_directory("shop-fleet-") as directory:
        directory.chmod(0o711)  # Postgres enters it too, under another account
        with running(Path(directory) / "data", "--procs", "--replicas", "2", "--fleet") as shop:
            limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
            async with httpx.AsyncClient(base_url=shop.url, timeout=120.0, limits=limits) as http:
                yield FleetVisitor(http, shop)


def test_each_switch_is_thrown_here() -> None:
    assert SWITCHES.keys() | {"limiter"} == DEFENCES.keys()


@pytest.mark.parametrize("name", ALONE)  # the bad canary has a test in `test_processes`
async def test_a_scenario_holds_and_leaves_every_invariant_whole(fleet: FleetVisitor, name: str) -> None:
    tries = iter(range(3))
    held = False
    while not held and next(tries, None) is not None:
        held = await holds_in_the_end(fleet, name, {"pace": 50})
    assert held, "the machine was too busy for this story each time"
    await settled(fleet.shop, fleet.http)


@pytest.mark.parametrize("name", SWITCHES)
async def test_a_switch_hurts_when_it_is_off_and_its_harm_is_0_when_it_is_on(fleet: FleetVisitor, name: str) -> None:
    await fleet.heal_provider()  # the test before may have left a fault
    await test_switches.throw(fleet, name, on=True)  # its harm is counted from now on
    await SWITCHES[name](fleet)
    assert (await test_switches.defence(fleet, name))["on"]
