"""The health check of a pod's image: it runs every few seconds, so it loads next to nothing."""

from __future__ import annotations

import os
from http.client import HTTPConnection, HTTPException

from shop.failures import StartFailed
from shop.settings import ANY_HOST, DEPLOYABLES, PORTS

_PATIENCE_S = 3.0


async def check_health(name: str) -> int:
    """Ask each context of a deployable on this machine whether it is alive; StartFailed names one that is not."""
    told = os.environ.get("SHOP_HOST", ANY_HOST)
    host = "127.0.0.1" if told == ANY_HOST else told
    for context in DEPLOYABLES[name]:
        if problem := _problem(host, PORTS[context]):
            raise StartFailed(f"{context} is not alive: {problem}")
    return 0


def _problem(host: str, port: int) -> str:
    """What is wrong with a context; empty where nothing is."""
    connection = HTTPConnection(host, port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status == 200 else f"it answers {status}"
