"""Which server, how to reach it, and what to say when it can't be reached.

The one place that knows redis-py's connection classes. TLS, passwords, unix sockets and every URL
option stay redis-py's business; pools, retries and timeouts are ours, so theirs are switched off.
"""

from __future__ import annotations

import dataclasses
import functools
import random
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis.asyncio.connection as async_side
import redis.connection as sync_side

from sdpatterns.backends.redis.failures import NotSent, ReplyLost, code_of, is_refusal, remedy_of
from sdpatterns.core.ranges import number, seconds, whole
from sdpatterns.core.runtime import ASYNCIO, BLOCKING, Runtime
from sdpatterns.core.tracing import Value
from sdpatterns.errors import BackendError, BackendFull, BackendUnavailable, OutcomeUnknown

__all__ = ["Node", "Server"]

Node = tuple[str, int]
"""Host and port of one server of a cluster."""

_POOL_OPTIONS = (
    "max_connections", "timeout", "retry_on_timeout", "retry_on_error", "retry",
    # Of a client of redis-py 7 and newer: what its own pool does at a server's maintenance.
    "maint_notifications_pool_handler", "maint_notifications_config", "himport_registry",
    "orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout",
)  # fmt: skip
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@functools.cache
def _driver_info() -> Any:
    """What a connection tells the server of its client; None where redis-py is older than this class.

    Made once, because redis-py searches the installed packages for its version, for each connection.
    """
    try:
        from redis.driver_info import DriverInfo
    except ModuleNotFoundError:
        return None
    return DriverInfo()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    """What a user said about the server, checked once."""

    url: str
    blocking: bool
    cluster: bool
    prefix: str
    timeout_s: float
    connections_max: int
    random: Callable[[], float] = random.random
    """Between 0 and 1: the jitter of pauses."""
    warns_of_loss: bool = True
    """Whether a server that may lose what it has answered is worth a warning."""
    client: Any = None
    """A client of redis-py whose settings are taken in place of the URL's. Held for Sentinel's look-ups."""

    def __post_init__(self) -> None:
        number("timeout_s", seconds("timeout_s", self.timeout_s), 0.0, 3600.0)
        whole("connections_max", self.connections_max, 1, 10_000)
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(f"prefix must be 1 to 64 letters, digits, '_', '.', ':' or '-', got {self.prefix!r}")
        side: Any = sync_side if self.blocking else async_side
        if self.client is not None:
            pool = self.client.connection_pool
            self._settle(dict(pool.connection_kwargs), pool.connection_class)
            return
        try:
            options = dict(side.parse_url(self.url))
        except ValueError as cause:
            raise ValueError(f"url {self.shown!r}: {cause}") from None
        self._settle(options, side.Connection)

    def _settle(self, options: dict[str, Any], usual: Any) -> None:
        # Not errors, because a URL or a client that is shared with other code can carry them.
        for name in _POOL_OPTIONS:
            options.pop(name, None)
        # Since redis-py 8 a socket times out after 5 s unless it is set otherwise, idle listeners too.
        options["socket_timeout"] = self.timeout_s if self.blocking else None
        options["socket_connect_timeout"] = self.timeout_s
        options["health_check_interval"] = 0
        # Bytes and the second protocol, because our scripts' replies are read as such.
        options["decode_responses"] = False
        options["protocol"] = 2
        if _driver_info() is not None and not options.keys() & {"driver_info", "lib_name", "lib_version"}:
            options["driver_info"] = _driver_info()
        object.__setattr__(self, "_kind", options.pop("connection_class", usual))
        object.__setattr__(self, "_options", options)

    @property
    def runtime(self) -> Runtime:
        """What its connections need."""
        return BLOCKING if self.blocking else ASYNCIO

    @property
    def shown(self) -> str:
        """The URL without its secrets."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        user = f"{parts.username or ''}:***@" if parts.password else ""
        query = [(name, "***" if "pass" in name else value) for name, value in parse_qsl(parts.query)]
        return urlunsplit((parts.scheme, user + host, parts.path, urlencode(query, safe="*/"), ""))

    @property
    def facts(self) -> dict[str, Value]:
        """What a span says of the server."""
        options: dict[str, Any] = vars(self)["_options"]
        if "path" in options:
            return {"db.system.name": "redis", "server.address": options["path"]}
        host, port = options.get("host", "localhost"), options.get("port", 6379)
        return {"db.system.name": "redis", "server.address": host, "server.port": port}

    @property
    def channel(self) -> str:
        """What the name of a topic's channel begins with."""
        return f"{self.prefix}:!"

    def connection(self, node: Node | None = None) -> Any:
        """A redis-py connection, not opened yet, to the URL's server or to another of its cluster."""
        options: dict[str, Any] = dict(vars(self)["_options"])
        if node is not None:
            options["host"], options["port"] = node
        return vars(self)["_kind"](**options)

    def away(self, cause: object) -> str:
        """One line for a server that can't be reached, or that refuses."""
        remedy = remedy_of(cause)
        if remedy is not None:
            return f"{self.shown} refuses: {cause}; {remedy}"
        return f"{self.shown} is away: {cause}; start the server there or correct the URL"

    def unknown(self, cause: object) -> str:
        """One line for a reply that never came."""
        return f"{self.shown}: the reply was lost ({cause}); the step may have happened or not"

    def failure(self, error: Exception, what: str = "refused") -> BackendError:
        """The exception that a caller gets for a `Lost` or an error reply."""
        if isinstance(error, ReplyLost):
            return OutcomeUnknown(self.unknown(error))
        if isinstance(error, NotSent) or is_refusal(error):
            return BackendUnavailable(self.away(error))
        if code_of(error) == "OOM":
            return BackendFull(f"{self.shown} is full: {error}; raise maxmemory or let cells expire")
        if code_of(error) == "MOVED":
            return BackendError(f"{self.shown} is a cluster: pass cluster=True")
        return BackendError(f"{self.shown}: {what}: {error}")
