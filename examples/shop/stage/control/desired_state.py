"""The desired state of the replicas: their switches and faults. A replica that differs is corrected."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from shop.background import together
from shop.stage.control.replicas import Replicas
from shop.stage.faults import TARGETS, Fault, FaultInjector
from shop.stage.switches import DEFENCES

# What an open page has seen need not be asked again.
_AGE_S, _CALM_AGE_S = 0.9, 3.5


class DesiredState:
    """The position of each switch and the fault of each service, as they were last asked for.

    Keeps: a replica that was away, or was restarted, gets these settings again with the next `reconcile`; a fault
    that it gets then ends when that of the others does. A new control room wants every defence on and no
    fault: it undoes what was asked of an earlier one.
    """

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._on = dict.fromkeys(DEFENCES, True)
        self._faults = {target: FaultInjector() for target in TARGETS}
        self.changed = asyncio.Event()
        """Set by every change of what is wanted: a replica that was away does not have it yet."""
        self._lock = asyncio.Lock()  # a replica must not be judged by a pulse from before the last change

    @property
    def is_plain(self) -> bool:
        """Whether every defence is to be on, and nothing to have a fault."""
        return all(self._on.values()) and not any(injector.view() for injector in self._faults.values())

    async def set_switch(self, name: str, *, on: bool) -> None:
        """Change a switch; a Problem when a replica does not answer, whose switch is then changed later."""
        self.changed.set()
        async with self._lock:
            self._on[name] = on
            await self._replicas.tell(DEFENCES[name], *_switch_request(name, on=on))

    async def begin(self, fault: Fault) -> Any:
        """Begin a fault, in place of the one that its target has; gives what the target says."""
        self.changed.set()
        async with self._lock:
            self._faults[fault.target].begin(fault, time.monotonic())
            return (await self._replicas.tell(fault.target, "PUT", "/admin/fault", asdict(fault)))[0]

    async def heal(self, *targets: str) -> Any:
        """Heal these targets at once; gives what the last of them says."""
        self.changed.set()
        async with self._lock:
            for target in targets:
                self._faults[target].heal()
            healed = await together(*(self._replicas.tell(target, "DELETE", "/admin/fault") for target in targets))
            return healed[-1][0]

    async def reconcile(self) -> set[str]:
        """Correct each replica that differs; returns the switches that had to be turned on again."""
        async with self._lock:
            age_max_s = _CALM_AGE_S if self.is_plain else _AGE_S
            corrections = [
                (address, order)
                for context, beats in (await self._replicas.pulses(age_max_s)).items()
                for address, pulse in beats.items()
                if pulse is not None
                for order in self._corrections(context, pulse)
            ]
            await together(*(self._replicas.ask(address, *order) for address, order in corrections))
        told = [order for _, order in corrections]
        return {name for name in DEFENCES if _switch_request(name, on=True) in told}

    def _corrections(self, context: str, pulse: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
        """The requests that bring a replica to the desired state."""
        for name, on in pulse["switches"].items():
            if on != self._on[name]:
                yield _switch_request(name, on=self._on[name])
        if context in self._faults:
            wanted, found = self._faults[context].view(), pulse["fault"]
            if _lasting(wanted) != _lasting(found):
                yield ("DELETE", "/admin/fault", None) if wanted is None else ("PUT", "/admin/fault", wanted)


def _switch_request(name: str, *, on: bool) -> tuple[str, str, Any]:
    return "PUT", f"/internal/switches/{name}", {"on": on}


def _lasting(fault: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A fault without the time it has left, which is different at every look."""
    return None if fault is None else {name: value for name, value in fault.items() if name != "left_s"}
