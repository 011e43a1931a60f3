"""What each part at the door adds to a request: in front of an application that answers at once.

python benchmarks/web.py [rounds]
"""

from __future__ import annotations

import asyncio
import io
import sys
import time
from collections.abc import Callable
from typing import Any

from harness import interleaved, report

from sdpatterns import Idempotency, RateLimiter, per_second
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.web.asgi import batch, compression, conditional, idempotency, metrics, ratelimit, tracing, versions
from sdpatterns.web.versions import Version
from sdpatterns.web.wsgi import compression as wsgi_compression
from sdpatterns.web.wsgi import conditional as wsgi_conditional
from sdpatterns.web.wsgi import door
from sdpatterns.web.wsgi import idempotency as wsgi_idempotency
from sdpatterns.web.wsgi import metrics as wsgi_metrics
from sdpatterns.web.wsgi import ratelimit as wsgi_ratelimit
from sdpatterns.web.wsgi import tracing as wsgi_tracing

REQUESTS = 500
BODY = b'{"sku": "a", "left": 7}' * 40
LIMIT = per_second(1_000_000)
HEADERS = {
    "host": "shop.example", "user-agent": "curl/8", "accept": "*/*", "accept-encoding": "gzip",
    "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
}  # fmt: skip


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))])
    return [BODY]


def asgi_case(app: Any, method: str = "GET", path: str = "/v1/stock") -> Callable[[], float]:
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    async def many() -> float:
        began = time.process_time()
        for number in range(REQUESTS):
            key = [(b"idempotency-key", b'"%d-%d"' % (time.perf_counter_ns(), number))] if method == "POST" else []
            scope = {
                "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
                "headers": headers + key, "client": ("127.0.0.1", 1), "extensions": {},
            }  # fmt: skip
            await app(scope, receive, send)
        return (time.process_time() - began) / REQUESTS

    return lambda: asyncio.run(many())


def wsgi_case(app: Any, method: str = "GET") -> Callable[[], float]:
    known = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in HEADERS.items()}

    def started(status: str, headers: Any, exc_info: Any = None) -> Any:
        return None

    def many() -> float:
        began = time.process_time()
        for number in range(REQUESTS):
            environ = known | {
                "REQUEST_METHOD": method, "PATH_INFO": "/v1/stock", "SCRIPT_NAME": "", "QUERY_STRING": "",
                "REMOTE_ADDR": "127.0.0.1", "SERVER_NAME": "shop", "SERVER_PORT": "80", "wsgi.input": io.BytesIO(),
            }  # fmt: skip
            if method == "POST":
                environ["HTTP_IDEMPOTENCY_KEY"] = f'"{time.perf_counter_ns()}-{number}"'
            parts = app(environ, started)
            b"".join(parts)
            if hasattr(parts, "close"):
                parts.close()
        return (time.process_time() - began) / REQUESTS

    return many


async def _straight(inside: Any, scope: Any, receive: Any, send: Any) -> None:
    await inside(scope, receive, send)


def main(rounds: int) -> None:
    def once() -> Idempotency:
        return Idempotency("http", store=MemoryBackend().states)

    told = [Version(name="1", successor="2"), Version(name="2")]
    asgi = {
        "bare": asgi_case(asgi_app),
        "tracing": asgi_case(tracing.TracingMiddleware(asgi_app)),
        "metrics, nobody listens": asgi_case(metrics.MetricsMiddleware(asgi_app, name="shop")),
        "rate limit, in memory": asgi_case(ratelimit.RateLimitMiddleware(asgi_app, RateLimiter("api", LIMIT))),
        "versions by path, one of two": asgi_case(versions.VersionsMiddleware(asgi_app, told, name="shop")),
        "batch, another path": asgi_case(batch.BatchMiddleware(asgi_app)),
        "conditional, 920 bytes": asgi_case(conditional.ConditionalMiddleware(asgi_app)),
        "compression, gzip, 920 bytes": asgi_case(compression.CompressionMiddleware(asgi_app)),
        "idempotency, in memory, new keys": asgi_case(idempotency.IdempotencyMiddleware(asgi_app, once()), "POST"),
    }
    report("web_asgi", interleaved(asgi, rounds), "bare", ["http-sf"])
    stack = wsgi_ratelimit.RateLimitMiddleware(wsgi_app, RateLimiter("api", LIMIT))
    stack = wsgi_tracing.TracingMiddleware(wsgi_metrics.MetricsMiddleware(stack, name="shop"))
    wsgi = {
        "bare": wsgi_case(wsgi_app),
        "door alone": wsgi_case(door.Door(wsgi_app, lambda inside: lambda *asked: _straight(inside, *asked))),
        "tracing": wsgi_case(wsgi_tracing.TracingMiddleware(wsgi_app)),
        "metrics, nobody listens": wsgi_case(wsgi_metrics.MetricsMiddleware(wsgi_app, name="shop")),
        "rate limit, in memory": wsgi_case(wsgi_ratelimit.RateLimitMiddleware(wsgi_app, RateLimiter("api", LIMIT))),
        "tracing, metrics and rate limit": wsgi_case(stack),
        "conditional, 920 bytes": wsgi_case(wsgi_conditional.ConditionalMiddleware(wsgi_app)),
        "compression, gzip, 920 bytes": wsgi_case(wsgi_compression.CompressionMiddleware(wsgi_app)),
        "idempotency, in memory, new keys": wsgi_case(wsgi_idempotency.IdempotencyMiddleware(wsgi_app, once()), "POST"),
    }
    report("web_wsgi", interleaved(wsgi, rounds), "bare", ["http-sf"])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
