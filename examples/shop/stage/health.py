"""The health check of a pod's image: it runs every few seconds, so it loads next to nothing."""

from __future__ import annotations

import os
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from shop.failures import StartFailed
from shop.settings import ANY_HOST, DEPLOYABLES, PORTS

_PATIENCE_S = 3.0


async def check_health(name: str, url: str | None) -> int:
    """Ask each context of a deployable on this machine, or the shop at a URL, for a sign of life.

    StartFailed names one that gives none.
    """
    told = os.environ.get("SHOP_HOST", ANY_HOST)
    host = "127.0.0.1" if told == ANY_HOST else told
    asked = {context: f"http://{host}:{PORTS[context]}" for context in DEPLOYABLES[name]} if name else {url: url}
    for what, where in asked.items():
        if problem := _problem(where or ""):
            raise StartFailed(f"{what} is not alive: {problem}")
    return 0


def _problem(url: str) -> str:
    """What is wrong with what is there; empty where nothing is."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status == 200 else f"it answers {status}"
