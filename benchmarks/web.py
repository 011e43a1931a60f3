"""What each middleware adds to a request, in front of an application that answers at once.

python benchmarks/web.py [rounds] [--before CHECKOUT]

With `--before` it compares the ASGI parts with those of another checkout instead. Each side is a process of its
own, which measures an application with and without a part when it is asked to; the sides take turns. What a part
costs is the CPU time of a request with it, less that of a request without it, in the same turn.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness import RESULTS, interleaved, machine, quartiles, report

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
# Where the code of a process happens to lie changes what a microsecond's work costs by up to a quarter, as a middleware
# that does nothing shows.
TURNS_OF_A_PROCESS = 3
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


class Nothing:
    """A middleware that only passes the request on: less than this no part can cost."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


def once() -> Idempotency:
    return Idempotency("http", store=MemoryBackend().states)


def asgi_cases() -> dict[str, Callable[[], float]]:
    told = [Version(name="1", successor="2"), Version(name="2")]
    return {
        "bare": asgi_case(asgi_app),
        "a middleware that does nothing": asgi_case(Nothing(asgi_app)),
        "tracing": asgi_case(tracing.TracingMiddleware(asgi_app)),
        "metrics, nobody listens": asgi_case(metrics.MetricsMiddleware(asgi_app, name="shop")),
        "rate limit, in memory": asgi_case(ratelimit.RateLimitMiddleware(asgi_app, RateLimiter("api", LIMIT))),
        "versions by path, one of two": asgi_case(versions.VersionsMiddleware(asgi_app, told, name="shop")),
        "batch, another path": asgi_case(batch.BatchMiddleware(asgi_app)),
        "conditional, 920 bytes": asgi_case(conditional.ConditionalMiddleware(asgi_app)),
        "compression, gzip, 920 bytes": asgi_case(compression.CompressionMiddleware(asgi_app)),
        "idempotency, in memory, new keys": asgi_case(idempotency.IdempotencyMiddleware(asgi_app, once()), "POST"),
    }


def main(rounds: int) -> None:
    report("web_asgi", interleaved(asgi_cases(), rounds), "bare", ["http-sf"])
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


def serve() -> None:
    """Measure the case that a line names, and answer with what one request costs in seconds."""
    cases = asgi_cases() | {"bare, POST": asgi_case(asgi_app, "POST")}
    for line in sys.stdin:
        print(cases[line.strip()](), flush=True)


class Side:
    """One checkout, in a process of its own."""

    def __init__(self, checkout: Path, stack: ExitStack) -> None:
        self._process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, __file__, "--serve"],
                env={**os.environ, "PYTHONPATH": str(checkout / "src")},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    def seconds(self, case: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{case}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def end(self) -> None:
        """Close its input, which ends it."""
        self._process.communicate()

    def cost(self, part: str) -> float:
        """Seconds that the part adds to a request: the least of some of each, because noise only adds."""
        bare = "bare, POST" if part.startswith("idempotency") else "bare"
        # A store has room for so many keys; what costs less than a microsecond needs more turns.
        turns = [(self.seconds(part), self.seconds(bare)) for _ in range(3 if bare != "bare" else 10)]
        return min(turn[0] for turn in turns) - min(turn[1] for turn in turns)


def costs_of(part: str, before: Side, now: Side, *, now_first: bool) -> tuple[float, float]:
    """What the part costs before and now."""
    if now_first:
        now_s = now.cost(part)
        return before.cost(part), now_s
    return before.cost(part), now.cost(part)


def compare(rounds: int, checkout: Path) -> None:
    """What each part costs now and in the other checkout, in `results/web_before.json`."""
    parts = [name for name in asgi_cases() if name != "bare"]
    turns: dict[str, list[tuple[float, float]]] = {part: [] for part in parts}
    for first in range(0, rounds, TURNS_OF_A_PROCESS):
        with ExitStack() as stack:
            before, now = Side(checkout, stack), Side(Path(__file__).parents[1], stack)
            for turn in range(min(TURNS_OF_A_PROCESS, rounds - first) + 1):
                for part in parts:
                    costs = costs_of(part, before, now, now_first=turn % 2 == 0)
                    if turn:  # in the first, caches fill
                        turns[part].append(costs)
            before.end()
            now.end()
    table: dict[str, Any] = {}
    for part, pairs in turns.items():
        middle, low, high = quartiles([new / old for old, new in pairs])
        old_us, new_us = (statistics.median(side) * 1e6 for side in zip(*pairs, strict=True))
        table[part] = {"before_us": old_us, "now_us": new_us, "ratio": middle, "ratio_quartiles": [low, high]}
        print(f"{part:40} {old_us:8.2f} {new_us:8.2f} {middle:6.2f}x ({low:.2f} to {high:.2f})")
    facts = {**machine(["http-sf"]), "rounds": rounds, "cases": table}
    (RESULTS / "web_before.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=15)
    parser.add_argument("--before", type=Path, help="a checkout whose parts are to be compared with these")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve()
    elif asked.before is not None:
        compare(asked.rounds, asked.before.resolve())
    else:
        main(asked.rounds)
