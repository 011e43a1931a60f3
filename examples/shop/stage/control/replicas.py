"""Every replica of every service, asked one by one; one that is away is shown as away and does not delay others."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpx2

from shop.background import together
from shop.problems import Problem
from shop.settings import CONTEXTS, Settings

PATIENCE_S = 3.0
ORDER_PATIENCE_S = 12.0  # for a person's request: on a busy machine it is done late rather than refused
_BEAT_KEPT_S = 15.0


class Replicas:
    """The replicas of the shop, each at an address of its own."""

    def __init__(self, settings: Settings, client: httpx2.AsyncClient) -> None:
        self._settings = settings
        self._client = client
        self._beats: dict[str, tuple[float, Any]] = {}

    def addresses(self, context: str) -> tuple[str, ...]:
        """The addresses of a context."""
        return self._settings.replicas(context)

    async def ask(self, address: str, method: str, path: str, body: Any = None) -> Any:
        """What one replica answers; None when it does not answer, or not well."""
        try:
            answer = await self._send(address, method, path, body)
            return answer.json() if answer.is_success else None
        except (httpx2.HTTPError, ValueError):
            return None

    async def tell(self, context: str, method: str, path: str, body: Any = None) -> list[Any]:
        """The same to all replicas of a context; the first refusal is raised as the Problem it is."""
        return await together(*(self._told(at, method, path, body) for at in self.addresses(context)))

    async def _told(self, address: str, method: str, path: str, body: Any) -> Any:
        try:
            answer = await self._send(address, method, path, body, ORDER_PATIENCE_S)
            document = answer.json()
        except (httpx2.HTTPError, ValueError):
            raise Problem(503, "unavailable", f"{address} does not answer.", retry_after_s=2) from None
        if answer.is_success:
            return document
        members = {name: value for name, value in document.items() if name not in ("type", "title", "status", "detail")}
        slug = str(document.get("type", "")).removeprefix("/problems/")
        raise Problem(answer.status_code, slug, str(document.get("detail", "")), **members)

    async def _send(
        self, address: str, method: str, path: str, body: Any, patience_s: float = PATIENCE_S
    ) -> httpx2.Response:
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"content-type": "application/json"}
        return await self._client.request(method, address + path, content=content, headers=headers, timeout=patience_s)

    async def pulses(self) -> dict[str, list[Any]]:
        """The pulse of each replica by context; None for one that is away.

        One that is only slow has its last pulse for `_BEAT_KEPT_S`: a busy machine is no reason to call it down.
        """
        contexts = [(context, address) for context in CONTEXTS for address in self.addresses(context)]
        found = await together(*(self._beat(address) for _, address in contexts))
        pulses: dict[str, list[Any]] = {context: [] for context in CONTEXTS}
        for (context, _), pulse in zip(contexts, found, strict=True):
            pulses[context].append(pulse)
        return pulses

    async def _beat(self, address: str) -> Any:
        try:
            answer = await self._send(address, "GET", "/internal/pulse", None)
            beat = answer.json() if answer.is_success else None
        except httpx2.TimeoutException:
            at_s, beat = self._beats.get(address, (0.0, None))
            return beat if time.monotonic() - at_s < _BEAT_KEPT_S else None
        except (httpx2.HTTPError, ValueError):
            return None
        self._beats[address] = (time.monotonic(), beat)
        return beat

    def services(self, pulses: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
        """Each replica with its rates, live or not."""
        return [
            {
                "name": context,
                "replica": number,
                "address": address,
                "live": pulse is not None,
                **{name: pulse[name] if pulse else 0.0 for name in ("rate", "failing", "p95_ms")},
            }
            for context, beats in pulses.items()
            for number, (address, pulse) in enumerate(zip(self.addresses(context), beats, strict=True), 1)
        ]


_WORST = (None, "closed", "half_open", "open")


def edges(pulses: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Who asks whom: the calls of all replicas together; of their breakers, the one that is worst."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for context, call in _calls(pulses):
        fresh = {"from": context, "to": call["to"], "rate": 0.0, "failing": 0.0, "retries": 0.0, "breaker": None}
        edge = found.setdefault((context, call["to"]), fresh)
        for name in ("rate", "failing", "retries"):
            edge[name] = round(edge[name] + call[name], 1)
        edge["breaker"] = max(edge["breaker"], call["breaker"], key=_WORST.index)
    return list(found.values())


def _calls(pulses: Mapping[str, list[Any]]) -> Iterable[tuple[str, dict[str, Any]]]:
    for context, beats in pulses.items():
        for pulse in beats:
            for call in pulse["calls"] if pulse else ():
                yield context, call
