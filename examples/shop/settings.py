"""The settings of a service: the addresses of the other services, its data, the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from shop.stage.release import Release

# What runs together: a deployable is one process, or several replicas of it, when the shop runs as processes.
DEPLOYABLES = {
    "gateway": ("gateway",),
    "catalog": ("catalog", "reviews"),
    "cart": ("cart",),
    "inventory": ("inventory",),
    "ordering": ("ordering",),
    "payments": ("payments",),
    "fulfilment": ("fulfilment",),
    "psp": ("psp", "mail", "carrier", "sellers"),
    "control": ("control",),
}
ALONE = ("psp", "control")  # one of each: what they know is in their memory
PUBLIC = "gateway"
WATCHING = "control"
VISITORS_MAX = 50
CONTEXTS = tuple(context for contexts in DEPLOYABLES.values() for context in contexts)
PUBLIC_PORT = 8080
ANY_HOST = "0.0.0.0"  # noqa: S104 - a pod listens on whatever address it is given; network policies say who reaches it
PORTS = {context: 9000 + number for number, context in enumerate(CONTEXTS, 1)}
"""Where each context listens in a pod; elsewhere its port is chosen at the start. Visitors know `PUBLIC_PORT` alone."""
CALLS = {
    "gateway": ("catalog", "reviews", "cart", "inventory", "ordering", "fulfilment", "psp", "mail", "control"),
    "cart": ("catalog",),
    "reviews": ("catalog",),
    "ordering": ("cart", "inventory", "payments", "fulfilment"),
    "payments": ("psp", "payments"),
    "fulfilment": ("mail", "carrier", "sellers", "catalog"),
    "psp": ("payments",),
    "control": CONTEXTS,
}
"""Which contexts each one may call; a client for any other is refused, so that this list is what runs."""


def wall_clock_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetServers:
    """Servers that all processes of the shop share."""

    postgres: str
    """The URL of Postgres, up to the name of a database."""
    valkey: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a service needs to know when it is wired."""

    data_dir: Path
    seed: int
    public: str
    """The URL that visitors know; a gateway's own address is for the shop itself."""
    addresses: Mapping[str, tuple[str, ...]]
    """Where each context's replicas are. In pods this mapping is a live one: read it each time, by `replicas`."""
    entrance: str = ""
    """The URL at which the shop itself comes in like a visitor; empty where that is `public`."""
    own: Mapping[str, str] = field(default_factory=dict)
    """Where the contexts of this replica are asked by others; a context that is not named has one replica."""
    context: str = ""
    replica: str = "1"
    """The name of this replica: a number, or the name of its pod."""
    fleet: FleetServers | None = None
    visitors: int = 0
    """How many simulated visitors walk through the shop from the start."""
    replaced: Callable[[str, int, Release], None] | None = None
    """Asks for a replica of another release: the deployable, its number; None where there is no supervisor to ask."""
    now_us: Callable[[], int] = wall_clock_us

    def address(self, context: str) -> str:
        """The base URL of a context: of its first replica."""
        return self.addresses[context][0]

    def own_address(self) -> str:
        """The base URL of this replica of this context."""
        return self.own.get(self.context) or self.address(self.context)

    def visitors_come_to(self) -> str:
        """The URL of the public port, as seen from inside the shop."""
        return self.entrance or self.public

    def public_port(self) -> int | None:
        """The port that visitors come in on; in front of a pod is a load balancer, whose own port may be another."""
        return urlsplit(self.visitors_come_to()).port

    def public_host(self) -> str:
        """The name under which visitors know the shop."""
        return urlsplit(self.public).hostname or ""

    def may_call(self, context: str) -> bool:
        """Whether this context has declared that it calls another one."""
        return context in CALLS.get(self.context, ())

    def replicas(self, context: str) -> tuple[str, ...]:
        """The base URL of each replica of a context, as they are now and in their order; never empty."""
        return self.addresses[context]

    def storage(self, name: str) -> Path | str:
        """Where to keep data: a SQLite file beside the others, or the URL of a database in the fleet's Postgres."""
        if self.fleet is not None:
            return f"{self.fleet.postgres}/{name}"
        return self.data_dir / f"{name}.sqlite3"
