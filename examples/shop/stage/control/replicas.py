"""Every replica of every service, asked one by one; one that is away is shown as away and does not delay others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import httpx2

from shop.background import together
from shop.problems import Problem
from shop.settings import CONTEXTS, Settings
from shop.stage.control.views import Beats, Question, View
from shop.stage.release import SHARE_HEADER, VERSION_HEADER
from shop.stage.whole_view import VIEW_PATH

PATIENCE_S = 3.0
ORDER_PATIENCE_S = 12.0  # for a person's request: on a busy machine it is done late rather than refused
_LOOK_PATIENCE_S = 4.0  # two of them follow each other in a look
_BEAT_KEPT_S = 15.0
_NO_BEAT: tuple[float, Any] = (0.0, None)


def _nothing(_address: str) -> Sequence[str]:
    """What a replica is asked besides."""
    return ()


def _without_books(beat: Any) -> dict[str, Any]:
    """What is known of a replica that does not answer in time."""
    problem = f"The {beat['service']} does not answer in time."
    return {"pulse": beat, "version": "", "problem": problem, "live": {}, "books": None}


class Replicas:
    """The replicas of the shop, each at an address of its own."""

    def __init__(self, settings: Settings, client: httpx2.AsyncClient) -> None:
        self._settings = settings
        self._client = client
        self._beats: dict[str, tuple[float, Any]] = {}
        self._away: set[str] = set()
        self.changed_s = 0.0
        """When a replica was last told to change something; what was seen before may be out of date."""

    def addresses(self, context: str) -> tuple[str, ...]:
        """The addresses of a context, as they are now."""
        return self._settings.replicas(context)

    async def ask(self, address: str, method: str, path: str, body: Any = None) -> Any:
        """What one replica answers; None when it does not answer, or not well."""
        try:
            answer = await self._send(address, method, path, body)
            return answer.json() if answer.is_success else None
        except (httpx2.HTTPError, ValueError):
            return None
        finally:
            if method != "GET":
                self.changed_s = time.monotonic()

    async def rows(self, path: str) -> list[Mapping[str, Any]]:
        """What each process answers, once, however many services it runs."""
        answers = await together(*(self.ask(address, "GET", path) for address in self._one_of_each_process()))
        rows = {answer["process"]: answer["rows"] for answer in answers if answer}
        return [row for each in rows.values() for row in each]

    def _one_of_each_process(self) -> list[str]:
        """An address of each process that is known by a pulse, and all the others."""
        beats = {at: self._beats.get(at, _NO_BEAT)[1] for context in CONTEXTS for at in self.addresses(context)}
        return list({beat["process"] if beat else at: at for at, beat in beats.items()}.values())

    async def tell(self, context: str, method: str, path: str, body: Any = None) -> list[Any]:
        """The same to all replicas of a context; the first refusal is raised as the Problem it is."""
        try:
            return await together(*(self._told(at, method, path, body) for at in self.addresses(context)))
        finally:
            self.changed_s = time.monotonic()

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

    async def view(self, context: str, question: Question, each: Callable[[str], Sequence[str]] = _nothing) -> View:
        """What the replicas of a context answer: the first that is there the question, `each` of them what it names."""
        asked_s, addresses = time.monotonic(), self.addresses(context)
        told = next((n for n, address in enumerate(addresses) if address not in self._away), 0)

        def query(number: int) -> str:
            its = question if number == told else Question()
            return its._replace(live=(*its.live, *each(addresses[number]))).query()

        found = await together(*(self._seen(address, query(n)) for n, address in enumerate(addresses)))
        if found[told] is None and any(found):  # it has just gone, and there is another one
            told = next(n for n, one in enumerate(found) if one is not None)
            found[told] = await self._seen(addresses[told], query(told))
        return View(asked_s, addresses, found, told)

    async def pulses(self, age_max_s: float) -> Mapping[str, Beats]:
        """The pulses by context, as they were at most so long ago."""
        since_s = time.monotonic() - age_max_s
        contexts = [(context, address) for context in CONTEXTS for address in self.addresses(context)]
        found = await together(*(self._pulse(address, since_s) for _, address in contexts))
        pulses: dict[str, dict[str, Any]] = {context: {} for context in CONTEXTS}
        for (context, address), pulse in zip(contexts, found, strict=True):
            pulses[context][address] = pulse
        return pulses

    async def _pulse(self, address: str, since_s: float) -> Any:
        asked_s, beat = self._beats.get(address, _NO_BEAT)
        if beat is not None and asked_s >= max(since_s, self.changed_s):
            return beat
        found = await self._seen(address, "")
        return found and found["pulse"]

    async def _seen(self, address: str, query: str) -> Any:
        """What a replica answers; None where it is away.

        One that is only slow has its last pulse for `_BEAT_KEPT_S`: a busy machine is no reason to call it down.
        """
        asked_s = time.monotonic()
        try:
            answer = await self._send(address, "GET", f"{VIEW_PATH}?{query}", None, _LOOK_PATIENCE_S)
            seen = answer.json() if answer.is_success else None
            if seen is not None:
                seen["pulse"] |= _release(answer.headers)
        except httpx2.TimeoutException:
            at_s, beat = self._beats.get(address, _NO_BEAT)
            known = beat is not None and asked_s - at_s < _BEAT_KEPT_S
            return _without_books(beat) if known else None
        except (httpx2.HTTPError, ValueError):
            seen = None
        (self._away.add if seen is None else self._away.discard)(address)
        self._beats[address] = (asked_s, seen and seen["pulse"])
        return seen

    def services(self, pulses: Mapping[str, Beats]) -> list[dict[str, Any]]:
        """Each replica with its rates, live or not."""
        return [
            {
                "name": context,
                "replica": number,
                "address": address,
                "live": pulse is not None,
                "version": pulse["version"] if pulse else None,
                "share": pulse["share"] if pulse else 0.0,
                **{name: pulse[name] if pulse else 0.0 for name in ("rate", "failing", "p95_ms")},
            }
            for context, beats in pulses.items()
            for number, (address, pulse) in enumerate(beats.items(), 1)
        ]


def _release(headers: Mapping[str, str]) -> dict[str, Any]:
    """Which release a replica is, and the share of the traffic that it asks for."""
    return {"version": int(headers.get(VERSION_HEADER, 1)), "share": float(headers.get(SHARE_HEADER, 0))}


_WORST = (None, "closed", "half_open", "open")


def edges(pulses: Mapping[str, Beats]) -> list[dict[str, Any]]:
    """Who asks whom: the calls of all replicas together; of their breakers, the one that is worst."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for context, call in _calls(pulses):
        fresh = {"from": context, "to": call["to"], "rate": 0.0, "failing": 0.0, "retries": 0.0, "breaker": None}
        edge = found.setdefault((context, call["to"]), fresh)
        for name in ("rate", "failing", "retries"):
            edge[name] = round(edge[name] + call[name], 1)
        edge["breaker"] = max(edge["breaker"], call["breaker"], key=_WORST.index)
    return list(found.values())


def _calls(pulses: Mapping[str, Beats]) -> Iterable[tuple[str, dict[str, Any]]]:
    for context, beats in pulses.items():
        for pulse in beats.values():
            for call in pulse["calls"] if pulse else ():
                yield context, call
