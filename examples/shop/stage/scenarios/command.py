"""`python -m shop scenario`: play one on a shop that is running, and say whether everything held."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import httpx2

from shop.plain_http import no_authority
from shop.stage.arguments import program
from shop.stage.scenarios import scenario
from shop.stage.total_timeout import TotalTimeoutClient

_PATIENCE_S = 20.0
_SILENT_S = 60.0  # a control room that does not answer for so long is gone
_LOOKS_S = 0.3


class _Gone(Exception):
    """The control room does not answer any more, or has forgotten the scenario."""


def listed() -> int:
    """Print the scenarios there are."""
    for name in scenario.names():
        written = scenario.load(name)
        print(f"{name:24} {written.takes_s:3} s  {written.summary}")
    return 0


async def played(name: str, url: str, pace: float, size: float = 1.0) -> int:
    """Let the shop's control room play a scenario, and print what it tells; 0 when all expectations held.

    The page shows the same. Ctrl-C stops it, and everything is put back.
    """
    try:
        written = scenario.load(name)
    except KeyError:
        print(f"shop: there is no scenario {name}; there are: {', '.join(scenario.names())}", file=sys.stderr)
        return 1
    try:
        async with TotalTimeoutClient(base_url=url, timeout=_PATIENCE_S, verify=no_authority()) as http:
            if not (await http.get("/livez")).is_success:
                return _no_shop(url, name)
            return await _followed(http, written, {"pace": pace, "size": size})
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return _no_shop(url, name)


def _no_shop(url: str, name: str) -> int:
    start, other = f"{program()} up", f"{program()} scenario {name} --port NUMBER"
    print(f"shop: no shop answers at {url}", file=sys.stderr)
    print(f"  start one in another terminal:  {start}", file=sys.stderr)
    print(f"  it runs at another port:        {other}", file=sys.stderr)
    return 1


async def _followed(http: httpx2.AsyncClient, written: scenario.Scenario, how: dict[str, float]) -> int:
    begun = await http.post(f"/control/api/scenarios/{written.name}", json=how)
    if begun.status_code == 409:
        title = (await _scenario(http))["title"]
        print(f"shop: {title} is being played there; stop it on the page, or wait for its end", file=sys.stderr)
        return 1
    if not begun.is_success:
        print(f"shop: the scenario cannot begin: {begun.status_code}", file=sys.stderr)
        return 1
    print(f"{written.title}: {written.summary}\n", flush=True)
    try:
        seen = await _told(http)
    except _Gone:
        print("shop: the control room went away in the middle of the scenario", file=sys.stderr)
        return 1
    except BaseException:
        with contextlib.suppress(httpx2.HTTPError):
            await asyncio.shield(http.request("DELETE", "/control/api/scenarios"))
        raise
    _print_table(seen["table"])
    held = bool(seen["held"])
    print(f"\n{'Everything held' if held else 'Not everything held'}; switches, faults and load are as before.")
    return 0 if held else 1


async def _told(http: httpx2.AsyncClient) -> dict[str, Any]:
    """Print what is told as it comes, until the end."""
    printed = 0
    while True:
        seen = await _scenario(http)
        for text in seen["told"][printed:]:
            print(text, flush=True)
        printed = len(seen["told"])
        if seen["ended"]:
            return seen
        await asyncio.sleep(_LOOKS_S)


async def _scenario(http: httpx2.AsyncClient) -> dict[str, Any]:
    """How far the scenario is; a control room that is busy is asked again."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SILENT_S):
            while True:
                with contextlib.suppress(httpx2.TransportError):
                    answer = await http.get("/control/api/scenario")
                    if answer.is_success:
                        return _begun(answer.json()["scenario"])
                await asyncio.sleep(1.0)
    raise _Gone


def _begun(scenario: dict[str, Any] | None) -> dict[str, Any]:
    if scenario is None:  # the control room was started again, and knows nothing of it
        raise _Gone
    return scenario


def _print_table(rows: list[dict[str, str]]) -> None:
    if not rows:
        return
    wide = max(len(row["row"]) for row in rows)
    print(f"\n{'':{wide}}  {'without':>10}  {'with':>10}")
    for row in rows:
        print(f"{row['row']:{wide}}  {row['without']:>10}  {row['with']:>10}")
