"""Visitors of the shop for Locust; what they do and how many come is in `profiles.json`.

    locust -f deploy/load/locustfile.py --headless --host http://127.0.0.1:8000 --load spike

Ends with exit code 1 when the criteria of the profile do not hold. `--size 0.1` takes a tenth of the time and of the
visitors. Each visitor makes one request a second, from a loopback address of its own, because the shop limits each
client; a machine with one loopback address only (macOS) sees refusals that a real crowd does not.
"""

from __future__ import annotations

import json
import math
import random
import secrets
from pathlib import Path
from typing import Any

from locust import HttpUser, LoadTestShape, constant_throughput, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from requests.adapters import HTTPAdapter

PROFILES: dict[str, Any] = json.loads((Path(__file__).parent / "profiles.json").read_text(encoding="utf-8"))
WORDS = ("lamp", "oak", "teapot", "wool", "radio", "brass", "mug", "linen")
WHERE = {"name": "A Customer", "line1": "1 Street", "city": "Town", "postcode": "12345", "country": "DE"}
CARD = {"number": "4242424242424242", "expiry": "12/39", "cvc": "123"}
SPAWNED_PER_S = 50


@events.init_command_line_parser.add_listener
def add_words(parser: LocustArgumentParser) -> None:
    """The command line says which profile, and how much of it."""
    parser.add_argument("--load", choices=list(PROFILES), default="baseline", help="one of profiles.json")
    parser.add_argument("--size", type=float, default=1.0, help="the part of its time and of its visitors")


class FromOwnAddress(HTTPAdapter):
    """Requests that leave from one loopback address."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *words: Any, **settings: Any) -> None:
        """The pool of connections, bound to the address."""
        super().init_poolmanager(*words, **settings, source_address=(self._address, 0))


class Visitor(HttpUser):
    """Looks around, searches, and sometimes buys."""

    wait_time = constant_throughput(1)
    numbers = iter(range(1, 60_000))

    def on_start(self) -> None:
        """Each visitor has an address where the shop is on this machine."""
        if self.host and "127.0.0.1" in self.host:
            number = next(self.numbers)
            self.client.mount("http://", FromOwnAddress(f"127.0.{1 + number // 250}.{1 + number % 250}"))

    @task(12)
    def look_at_a_list(self) -> None:
        """A page of products."""
        self.client.get("/api/v1/products?limit=12", name="list")

    @task(8)
    def look_at_a_product(self) -> None:
        """One product."""
        self.client.get(f"/api/v1/products/SP-{random.randrange(20, 4_000):05d}", name="product")

    @task(4)
    def search(self) -> None:
        """A search by a word."""
        self.client.get(f"/api/v1/products?limit=12&q={random.choice(WORDS)}", name="search")

    @task(1)
    def buy(self) -> None:
        """One piece into the basket, and the checkout."""
        cart = f"cart-{secrets.token_hex(8)}"
        sku = f"SP-{random.randrange(20, 4_000):05d}"
        self.client.put(f"/api/v1/carts/{cart}/items/{sku}", json={"quantity": 1}, name="basket")
        order = {"cart_id": cart, "email": "customer@example.org", "address": WHERE, "card": CARD}
        key = {"Idempotency-Key": f'"{secrets.token_hex(8)}"'}
        self.client.post("/api/v1/checkout", json=order, headers=key, name="checkout")


class Shape(LoadTestShape):
    """As many visitors as the profile has requests a second at that moment."""

    def tick(self) -> tuple[int, float] | None:
        """How many visitors there should be now; None when the profile has ended."""
        assert self.runner is not None  # Locust sets it before the first tick
        options: Any = self.runner.environment.parsed_options
        left_s = self.get_run_time() / options.size
        for stage in PROFILES[options.load]["stages"]:
            if left_s < stage["seconds"]:
                first = stage["per_second"]
                now = first + (stage.get("to_per_second", first) - first) * left_s / stage["seconds"]
                return math.ceil(now * options.size), SPAWNED_PER_S
            left_s -= stage["seconds"]
        return None


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Print each criterion and whether it holds; the exit code says whether all do."""
    options: Any = environment.parsed_options
    criteria = PROFILES[options.load]["criteria"]
    total = environment.stats.total
    p95_ms = total.get_response_time_percentile(0.95) or 0
    failed_max = criteria["failed_max"]
    found = {
        "requests": (total.num_requests > 0, f"{total.num_requests}"),
        "failed": (total.fail_ratio <= failed_max, f"{total.fail_ratio:.3%} <= {failed_max:.3%}"),
        "p95": (p95_ms <= criteria["p95_ms"], f"{p95_ms:.0f} ms <= {criteria['p95_ms']} ms"),
    }
    for name, (holds, words) in found.items():
        print(f"{'holds ' if holds else 'BROKEN'}  {name}: {words}")
    environment.process_exit_code = 0 if all(holds for holds, _ in found.values()) else 1
