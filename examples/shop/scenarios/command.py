"""`python -m shop scenario`: play one on a shop that is running, and say whether everything held."""

from __future__ import annotations

import sys

import httpx2

from shop.arguments import program
from shop.scenarios import script
from shop.scenarios.play import Play
from shop.scenarios.stage import NoShop


def listed() -> int:
    """Print the scenarios there are."""
    for name in script.names():
        written = script.load(name)
        print(f"{name:24} {written.takes_s:3} s  {written.summary}")
    return 0


async def played(name: str, url: str, pace: float) -> int:
    """Play a scenario; 0 when all expectations held."""
    try:
        written = script.load(name)
    except KeyError:
        print(f"shop: there is no scenario {name}; there are: {', '.join(script.names())}", file=sys.stderr)
        return 1
    if not await _is_open(url):
        start, other = f"{program()} up", f"{program()} scenario {name} --port NUMBER"
        print(f"shop: no shop answers at {url}", file=sys.stderr)
        print(f"  start one in another terminal:  {start}", file=sys.stderr)
        print(f"  it runs at another port:        {other}", file=sys.stderr)
        return 1
    if title := await _playing(url):
        print(f"shop: {title} is being played there; stop it on the page, or wait for its end", file=sys.stderr)
        return 1
    print(f"{written.title}: {written.summary}\n", flush=True)
    play = Play(written, url, pace=pace, tell=lambda text: print(text, flush=True))
    try:
        held = await play.perform()
    except NoShop as failure:
        print(f"shop: the scenario broke off: {failure}", file=sys.stderr)
        return 1
    print(f"\n{'Everything held' if held else 'Not everything held'}; switches, faults and load are as before.")
    return 0 if held else 1


async def _is_open(url: str) -> bool:
    try:
        async with httpx2.AsyncClient(base_url=url, timeout=5.0) as http:
            return (await http.get("/livez")).is_success
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return False


async def _playing(url: str) -> str:
    """The title of what the control room plays at the moment: two plays would put back what the other has thrown."""
    try:
        async with httpx2.AsyncClient(base_url=url, timeout=20.0) as http:
            scenario = (await http.get("/control/api/state")).json().get("scenario")
    except (httpx2.HTTPError, ValueError):
        return ""  # the play itself will say what is wrong
    return str(scenario["title"]) if scenario and not scenario["ended"] else ""
