"""The shop as a scenario handles it: over HTTP alone, and put back as it was found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import httpx2

PATIENCE_S = 20.0  # for one call
_AGAIN_S = 30.0
_PAUSE_S = 1.0
_RESTORE_S = 120.0
_ROUNDED_S = 0.1  # ages are told in tenths of a second


class NoShop(Exception):
    """There is no shop at that address, or it does not do as asked."""


class ShopClient:
    """Switches, faults, deliveries, load and state of a running shop.

    Keeps: `restore` undoes whatever was done through it, and asks a busy shop again, for at most `_RESTORE_S`.
    """

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self._switches: dict[str, bool] = {}
        self._broken: set[str] = set()
        self._visitors: int | None = None
        self._is_bought_twice = False
        self._has_paid = False
        self._rolls_out = False

    async def state(self) -> dict[str, Any]:
        """The state of the control room, with what is derived from it.

        `current`: all of it was looked up after this call began. A busy control room answers with its last state.
        """
        began_s = time.monotonic()
        state: dict[str, Any] = await self._ask("GET", "/control/api/state")
        age_s, took_s = state["age_s"], time.monotonic() - began_s
        is_new = age_s is not None and age_s <= took_s + _ROUNDED_S
        current = is_new and all(verdict.get("checked", True) for verdict in state["invariants"].values())
        broken = [name for name, verdict in state["invariants"].items() if not verdict["holds"]]
        in_flight = sum(state["orders"].get(status, {}).get("orders", 0) for status in ("pending", "undoing"))
        return {**state, "broken": len(broken), "in_flight": in_flight, "current": current}

    async def free(self, sku: str) -> int:
        """The free pieces of a product."""
        return int((await self._ask("GET", f"/api/v1/products/{sku}"))["available"] or 0)

    async def switch(self, name: str, *, on: bool) -> None:
        """Turn a defence on or off."""
        if name not in self._switches:
            self._switches[name] = (await self.state())["defences"][name]["on"]
        await self._ask("PUT", f"/control/api/switches/{name}", {"on": on})

    async def fault(self, fault: Mapping[str, Any]) -> None:
        """Begin a fault."""
        self._broken.add(str(fault["target"]))
        await self._ask("PUT", "/control/api/fault", dict(fault))

    async def heal(self, target: str) -> None:
        """Heal a target."""
        await self._ask("DELETE", f"/control/api/faults/{target}")
        self._broken.discard(target)

    async def load(self, visitors: int) -> None:
        """Turn the load dial."""
        if self._visitors is None:
            self._visitors = int((await self.state())["load"]["visitors"])
        await self._ask("PUT", "/control/api/load", {"visitors": visitors})

    async def deliver(self, sku: str, up_to: int) -> None:
        """Let pieces be delivered, as many as are missing."""
        missing = up_to - await self.free(sku)
        if missing > 0:
            await self._ask("POST", "/control/api/deliveries", {"sku": sku, "pieces": missing})

    def note_presses(self, presses: int) -> None:
        """Note that customers press Pay so often: second orders are cancelled at the end, or by `cancel_extra`."""
        self._is_bought_twice |= presses > 1

    async def cancel_extra(self) -> None:
        """Cancel the second orders of one cart, which refunds them."""
        await self._ask("DELETE", "/control/api/second-orders")
        self._is_bought_twice = False

    async def run_night(self) -> None:
        """Have the sellers paid; what is paid twice is claimed back at the end, or by `reverse`."""
        self._has_paid = True
        await self._ask("POST", "/control/api/nights", {})

    async def reverse(self) -> None:
        """Claim back what sellers were paid twice."""
        await self._ask("POST", "/control/api/reversals", {})

    async def redrive(self) -> None:
        """Have all dead letters tried again."""
        await self._ask("POST", "/control/api/dead-letters/redrive", {})

    async def roll_out(self, service: str, *, has_bug: bool, at_once: bool) -> None:
        """Begin a rollout; what was given to all at once is taken back at the end, or by `take_back`."""
        self._rolls_out = True
        await self._ask("POST", "/control/api/rollout", {"service": service, "has_bug": has_bug, "at_once": at_once})

    async def is_rolling_out(self) -> bool:
        """Whether a rollout is under way."""
        return bool((await self._ask("GET", "/control/api/rollout"))["running"])

    async def take_back(self) -> None:
        """Take a new release back, and wait until the old one runs again."""
        await self._ask("DELETE", "/control/api/rollout")
        while await self.is_rolling_out():  # noqa: ASYNC110 - the shop is asked over HTTP
            await asyncio.sleep(_PAUSE_S)
        self._rolls_out = False

    async def restore(self) -> None:
        """Put everything back; the first failure is raised when all has been tried, or the time is up."""
        try:
            async with asyncio.timeout(_RESTORE_S):
                failures = [failure for undoing in self._undoing() if (failure := await self._failed(*undoing))]
        except TimeoutError:
            raise NoShop(f"not everything could be put back within {_RESTORE_S:g} s") from None
        if failures:
            raise failures[0]

    def _undoing(self) -> list[tuple[str, str, Any]]:
        """What puts everything back. Faults come first: a shop that works again does the rest more quickly."""
        return [
            *(("DELETE", f"/control/api/faults/{target}", None) for target in self._broken),
            *(("DELETE", "/control/api/rollout", None) for _ in range(self._rolls_out)),
            *(("PUT", f"/control/api/switches/{name}", {"on": on}) for name, on in self._switches.items()),
            *(("PUT", "/control/api/load", {"visitors": had}) for had in (self._visitors,) if had is not None),
            *(("DELETE", "/control/api/second-orders", None) for _ in range(self._is_bought_twice)),
            *(("POST", "/control/api/reversals", {}) for _ in range(self._has_paid)),
        ]

    async def _failed(self, method: str, path: str, body: Any) -> NoShop | None:
        try:
            await self._ask(method, path, body)
        except NoShop as failure:
            return failure
        return None

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer; a shop that is too busy to give one is asked again for `_AGAIN_S`."""
        ends_s = asyncio.get_running_loop().time() + _AGAIN_S
        while True:
            try:
                answer = await self._http.request(method, path, json=body)
                if answer.is_success:
                    return answer.json()
                said = f"{method} {path} was answered with {answer.status_code}"
                busy = answer.status_code in (429, 502, 503)
            except (httpx2.HTTPError, ValueError) as error:
                said, busy = f"{method} {path}: {type(error).__name__}", True
            # A delivery may have been booked although no answer came: it is asked for once.
            if not busy or path.endswith("/deliveries") or asyncio.get_running_loop().time() > ends_s:
                raise NoShop(said)
            await asyncio.sleep(_PAUSE_S)
