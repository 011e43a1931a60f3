"""The service map: what the traces of the last seconds say of the calls between services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shop.settings import CALLS, PUBLIC, WATCHING
from shop.stage.control.views import Beats
from shop.stage.pulse import Seen
from shop.stage.traced_calls import VISITORS, WINDOW_S

Pair = tuple[str, str]


def declared() -> list[Pair]:
    """Who may call whom, without the control room, which calls all."""
    pairs = [(caller, callee) for caller, callees in CALLS.items() for callee in callees]
    return [(VISITORS, PUBLIC), *(pair for pair in pairs if WATCHING not in pair)]


def layers(pairs: Iterable[Pair]) -> list[list[str]]:
    """The services by how many calls lie between visitors and them, on the longest way that no call goes back on."""
    forward: dict[str, list[str]] = {}
    for caller, callee in pairs:
        forward.setdefault(caller, []).append(callee)
    depth: dict[str, int] = {}

    def go(service: str, way: tuple[str, ...]) -> None:
        depth[service] = max(depth.get(service, 0), len(way))
        for callee in forward.get(service, ()):
            if callee not in (*way, service):
                go(callee, (*way, service))

    go(VISITORS, ())
    found: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for service, number in depth.items():
        found[number].append(service)
    return [layer for layer in found if layer]


DECLARED = declared()
LAYERS = layers(DECLARED)


def service_map(pulses: Mapping[str, Beats]) -> dict[str, Any]:
    """The layers, from left to right, and each call that is declared, with what was seen of it.

    Calls of replicas add up; the p95 is that of the replica that waits the longest.
    """
    seen = dict.fromkeys(DECLARED, Seen(0, 0, 0.0))
    for beats in pulses.values():
        for pulse in beats.values():
            for call in pulse["traced"] if pulse else ():
                pair = call["from"], call["to"]
                if pair in seen:
                    seen[pair] = _both(seen[pair], Seen(call["events"], call["failed"], call["p95_ms"]))
    return {"layers": LAYERS, "window_s": WINDOW_S, "calls": [_told(pair, call) for pair, call in seen.items()]}


def _both(one: Seen, other: Seen) -> Seen:
    return Seen(one.events + other.events, one.failed + other.failed, max(one.p95_ms, other.p95_ms))


def _told(pair: Pair, seen: Seen) -> dict[str, Any]:
    return {
        "from": pair[0],
        "to": pair[1],
        "rate": round(seen.events / WINDOW_S, 2),
        "p95_ms": seen.p95_ms,
        "error_share": round(seen.failed / seen.events, 3) if seen.events else 0.0,
    }
