"""The health check of a pod's image: it runs every few seconds, so it loads next to nothing."""

from __future__ import annotations

import os
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from shop.failures import StartFailed
from shop.settings import ANY_HOST, CONTEXTS, DEPLOYABLES, PORTS

_PATIENCE_S = 3.0
REFUSED = "nothing listens there"


async def check_health(name: str, url: str) -> int:
    """Ask the shop at a URL, or each context of a deployable on this machine, for a sign of life.

    Without either, the contexts that listen here are asked. StartFailed names one that gives no sign of life.
    """
    told = os.environ.get("SHOP_HOST", ANY_HOST)
    host = "127.0.0.1" if told == ANY_HOST else told
    contexts = DEPLOYABLES[name] if name else CONTEXTS
    asked = {url: url} if url else {context: f"http://{host}:{PORTS[context]}" for context in contexts}
    answers = {what: _problem(where) for what, where in asked.items()}
    heard = {what: why for what, why in answers.items() if name or url or why != REFUSED}
    wrong = [f"{what} is not alive: {why}" for what, why in heard.items() if why]
    if wrong or not heard:
        raise StartFailed("; ".join(wrong) or "nothing of the shop listens here")
    return 0


def _problem(url: str) -> str:
    """What is wrong with what is there; empty where nothing is."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except ConnectionRefusedError:
        return REFUSED
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status == 200 else f"it answers {status}"
