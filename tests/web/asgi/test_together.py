"""All parts around one application, behind a real server."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sdpatterns import Idempotency, RateLimiter, per_minute
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.web.asgi.batch import BatchMiddleware
from sdpatterns.web.asgi.compression import CompressionMiddleware
from sdpatterns.web.asgi.conditional import ConditionalMiddleware
from sdpatterns.web.asgi.idempotency import IdempotencyMiddleware
from sdpatterns.web.asgi.metrics import MetricsMiddleware
from sdpatterns.web.asgi.ratelimit import RateLimitMiddleware
from sdpatterns.web.asgi.tracing import TracingMiddleware
from sdpatterns.web.asgi.versions import VersionsMiddleware
from sdpatterns.web.versions import Version
from tests.web.conftest import Serve

pytestmark = pytest.mark.anyio
KEY = {"Idempotency-Key": '"8e03978e"'}


async def broken(scope: Any, receive: Any, send: Any) -> None:
    raise OSError("broken")


def stacked(app: Any) -> Any:
    app = IdempotencyMiddleware(app, Idempotency("http", store=MemoryBackend().states))
    app = RateLimitMiddleware(app, RateLimiter("api", per_minute(60)))
    app = BatchMiddleware(VersionsMiddleware(app, [Version(name="1")], name="shop"))
    app = CompressionMiddleware(ConditionalMiddleware(app))
    return TracingMiddleware(MetricsMiddleware(app, name="shop"))


async def test_an_unexpected_exception_is_logged_once(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(stacked(broken)) as url, httpx.AsyncClient(base_url=url) as http:
        assert (await http.post("/v1/orders", headers=KEY)).status_code == 500
        assert [record.name for record in caplog.records if record.exc_info] == ["uvicorn.error"]
        caplog.clear()
        answer = await http.post("/batch", json=[{"id": "a", "method": "POST", "path": "/v1/orders"}])
    assert answer.json()[0]["status"] == 500
    assert [record.name for record in caplog.records if record.exc_info] == ["sdpatterns"]
