"""How services talk to each other: HTTP over real sockets, within what is left of the caller's time."""

from __future__ import annotations

import functools
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from sdpatterns.core.notices import tell
from sdpatterns.errors import DeadlineExceeded, Rejected
from sdpatterns.web.httpx2 import AsyncPool, AsyncTransport
from shop.defences import bounded_calls
from shop.plain_http import no_authority
from shop.problems import Problem, not_found
from shop.round_robin import RoundRobinTransport
from shop.settings import Settings
from shop.stage.pulse import CallFinished
from shop.validation import is_slug

Headers = dict[str, str] | list[tuple[bytes, bytes]]
_log = logging.getLogger("shop.service_client")
PATIENCE_S = 5.0
_CONNECTS_S = 1.0


class ServiceClient:
    """Another service of the shop.

    Keeps: an answer of the service arrives as it is, its problems as Problem with the same status;
    a service that cannot be reached in time is a Problem 503 with Retry-After.
    """

    def __init__(self, name: str, client: httpx2.AsyncClient) -> None:
        self.name = name
        self._client = client
        # Most calls are for the same few paths, and a client parses the path and joins it to its base for each.
        self._url = functools.lru_cache(maxsize=256)(functools.partial(_joined, str(client.base_url).rstrip("/")))

    async def send(
        self, method: str, path: str, *, body: bytes | None = None, headers: Headers | None = None
    ) -> httpx2.Response:
        """The raw answer to raw bytes, whatever its status."""
        try:
            return await self._client.request(method, self._url(path), content=body, headers=headers)
        except httpx2.InvalidURL:
            raise _too_long() from None
        except (httpx2.HTTPError, DeadlineExceeded, Rejected) as error:
            raise self._away(error) from None

    async def stream(
        self, method: str, path: str, *, body: bytes | None = None, headers: Headers | None = None
    ) -> httpx2.Response:
        """The answer as soon as it begins; its reader closes it."""
        try:
            request = self._client.build_request(method, self._url(path), content=body, headers=headers)
            return await self._client.send(request, stream=True)
        except httpx2.InvalidURL:
            raise _too_long() from None
        except (httpx2.HTTPError, DeadlineExceeded, Rejected) as error:
            raise self._away(error) from None

    def _away(self, error: Exception) -> Problem:
        _log.warning("no answer", extra={"to": self.name, "reason": repr(error)})
        return Problem(503, "unavailable", f"The {self.name} does not answer.", retry_after_s=2)

    async def ask(self, method: str, path: str, *, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """The decoded answer to a JSON body; a refusal is raised as the Problem it is."""
        response = await self.answered(method, path, body=body, headers=headers)
        return response.json() if response.content else None

    async def answered(
        self, method: str, path: str, *, body: Any = None, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        """The answer to a JSON body as it came; a refusal is raised as the Problem it is."""
        sent = dict(headers or {})
        if body is not None:
            sent["content-type"] = "application/json"
            body = json.dumps(body).encode()
        response = await self.send(method, path, body=body, headers=sent)
        if response.is_success:
            return response
        raise _as_problem(self.name, response)

    async def deliver(self, path: str, body: bytes, headers: Headers) -> None:
        """Post bytes as they are, which are taken when this returns; a refusal is raised as the Problem it is."""
        response = await self.send("POST", path, body=body, headers=headers)
        if not response.is_success:
            raise _as_problem(self.name, response)


def _joined(base: str, path: str) -> httpx2.URL:
    return httpx2.URL(base + path)


def _too_long() -> Problem:
    return Problem(414, "uri-too-long", "The address is too long.")


def _as_problem(name: str, response: httpx2.Response) -> Problem:
    try:
        document = response.json()
        slug = document["type"].removeprefix("/problems/")
        members = {key: value for key, value in document.items() if key not in ("type", "title", "status", "detail")}
        retry_after = response.headers.get("retry-after", "")
        retry_after_s = float(retry_after) if retry_after.isdigit() else None
        return Problem(response.status_code, slug, document["detail"], retry_after_s=retry_after_s, **members)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Problem(502, "bad-answer", f"The {name} gave an answer that cannot be read.")


def segment(text: str) -> str:
    """A text as one segment of a path; a 404 problem for one that would lead somewhere else, such as `..`."""
    if not is_slug(text):
        raise not_found("such thing")
    return text


class _ReportingTransport(httpx2.AsyncBaseTransport):
    """Tells of each call, so that the control room can draw who asks whom."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, caller: str, name: str) -> None:
        self._inner = inner
        self._caller = caller
        self._name = name

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; an answer of 500 or more, none, or one that came too late for the caller has failed."""
        began_s, failed = time.monotonic(), True
        try:
            response = await self._inner.handle_async_request(request)
            failed = response.status_code >= 500
            return response
        finally:
            if self._caller and "control" not in (
                self._caller,
                self._name,
            ):  # the control room's own requests are not traffic
                duration_s = time.monotonic() - began_s
                at = f"{request.url.host}:{request.url.port}"  # the replica that was asked last
                tell(CallFinished(name=self._caller, to=self._name, failed=failed, duration_s=duration_s, at=at))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def http_client(settings: Settings, name: str, *, connections_max: int, patience_s: float) -> httpx2.AsyncClient:
    """An HTTP client that carries trace and deadline along, and waits for nothing without a bound.

    Its callers queue in a bulkhead, first come first served, for at most `patience_s`. Then the call has
    `patience_s` for the connection, the answer and its body together; connecting has one second of it.
    """
    if not settings.may_call(name):
        raise ValueError(f"{settings.context} has not declared in CALLS that it calls {name}")
    limits = httpx2.Limits(max_connections=connections_max, max_keepalive_connections=connections_max)
    pool = AsyncPool(limits=limits, verify=no_authority())
    transport = AsyncTransport(
        bounded_calls(name, connections_max, patience_s),
        inner=_ReportingTransport(
            RoundRobinTransport(functools.partial(settings.replicas, name), pool), settings.context, name
        ),
    )
    timeout = httpx2.Timeout(patience_s, connect=min(_CONNECTS_S, patience_s))
    return httpx2.AsyncClient(base_url=settings.address(name), transport=transport, timeout=timeout)


@asynccontextmanager
async def service_client(
    settings: Settings, name: str, *, connections_max: int = 16, patience_s: float = PATIENCE_S
) -> AsyncIterator[ServiceClient]:
    """Another service, for as long as the block runs."""
    async with http_client(settings, name, connections_max=connections_max, patience_s=patience_s) as client:
        yield ServiceClient(name, client)
