"""What the package says of itself is true: each keyword imports, and each extra that is named exists."""

from __future__ import annotations

import importlib
import re
import tomllib
from typing import Any

from tests.house.source import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# What a user finds who installs the package because of a keyword.
KEPT_BY = {
    "asgi": "sdpatterns.web.asgi.ratelimit:RateLimitMiddleware",
    "asyncio": "sdpatterns:Timeout",
    "bulkhead": "sdpatterns:Bulkhead",
    "circuit-breaker": "sdpatterns:CircuitBreaker",
    "distributed-systems": "sdpatterns.backends.redis:RedisBackend",
    "fallback": "sdpatterns:Fallback",
    "idempotency": "sdpatterns:Idempotency",
    "idempotency-key": "sdpatterns.web.asgi.idempotency:IdempotencyMiddleware",
    "postgres": "sdpatterns.backends.sqlalchemy:SQLBackend",
    "quota": "sdpatterns:Quota",
    "rate-limiter": "sdpatterns:RateLimiter",
    "rate-limiting": "sdpatterns:RateLimiter",
    "redis": "sdpatterns.backends.redis:RedisBackend",
    "resilience": "sdpatterns:Pipeline",
    "retry": "sdpatterns:Retry",
    "sqlite": "sdpatterns.backends.sqlalchemy:SQLBackend",
    "timeout": "sdpatterns:Timeout",
    "trio": "sdpatterns.backends.trio:InThreads",
    "valkey": "sdpatterns.backends.redis:RedisBackend",
    "wsgi": "sdpatterns.web.wsgi.ratelimit:RateLimitMiddleware",
}


def test_every_keyword_is_something_that_can_be_imported() -> None:
    assert sorted(KEPT_BY) == PROJECT["keywords"]
    for keyword, place in KEPT_BY.items():
        module, name = place.split(":")
        assert hasattr(importlib.import_module(module), name), keyword


def test_the_extra_all_holds_every_extra_for_programs() -> None:
    extras = PROJECT["optional-dependencies"]
    inside = re.findall(r"[\w-]+", extras["all"][0].removeprefix("sdpatterns"))
    assert sorted(inside) == sorted(set(extras) - {"all", "testing"})


def test_every_extra_that_a_page_or_a_message_names_exists() -> None:
    texts = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]
    named = {
        (extra.strip(), path.relative_to(ROOT).as_posix())
        for path in texts
        for extras in re.findall(r"sdpatterns\[([a-z, -]+)\]", path.read_text(encoding="utf-8"))
        for extra in extras.split(",")
    }
    assert {(extra, where) for extra, where in named if extra not in PROJECT["optional-dependencies"]} == set()
