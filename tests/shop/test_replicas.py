"""What the control room asks of the replicas of the shop."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from shop.settings import CONTEXTS, Settings
from shop.stage.control.replicas import Replicas
from shop.stage.whole_view import VIEW_PATH

pytestmark = pytest.mark.anyio


async def test_a_process_that_runs_several_services_is_asked_once() -> None:
    """Each answer costs the shop as much as a page, and is the same from each service of a process."""
    asked: list[str] = []
    process_of = dict.fromkeys(CONTEXTS, "one") | {"cart": "two"}
    away: set[str] = set()

    def answer(request: httpx2.Request) -> httpx2.Response:
        context = request.url.host
        if request.url.path == VIEW_PATH:
            return httpx2.Response(200, json={"pulse": {"process": process_of[context]}})
        asked.append(context)
        row = {"of": process_of[context]}
        return httpx2.Response(503 if context in away else 200, json={"process": process_of[context], "rows": [row]})

    async def processes() -> tuple[list[str], int]:
        asked.clear()
        rows = await replicas.rows("/internal/traces")
        return sorted(row["of"] for row in rows), len(asked)

    addresses = {context: (f"http://{context}",) for context in CONTEXTS}
    settings = Settings(data_dir=Path(), seed=1, public="http://shop", addresses=addresses, context="control")
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        replicas = Replicas(settings, client)
        assert await processes() == (["one", "two"], len(CONTEXTS))
        await replicas.pulses(0.0)
        assert await processes() == (["one", "two"], 2)
        process_of["ordering"] = "three"  # it was started again, in a process of its own
        away.add("cart")
        await replicas.pulses(0.0)
        assert await processes() == (["one", "three"], 3)
