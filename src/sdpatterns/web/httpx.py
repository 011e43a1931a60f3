"""httpx transports that run a pipeline around each request and carry trace and deadline along.

```
client = httpx.AsyncClient(transport=AsyncTransport(Pipeline(Retry(on=httpx.TransportError), breaker, name="psp")))
```

| header sent | from |
|---|---|
| `traceparent`, `tracestate` | the current trace, with a span for each attempt |
| `X-Deadline-Ms` | the milliseconds that the current call has left |
| `X-Correlation-Id` | the current correlation id |

For new programs prefer httpx2, the maintained fork, with `sdpatterns.web.httpx2`.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterable
from functools import partial
from typing import TypeAlias, cast

from sdpatterns.core.policy import Policy
from sdpatterns.web.connections import LentStream, Slots
from sdpatterns.web.outgoing import BODY_BYTES_MAX, UNAVAILABLE, Outgoing, retry_after_s
from sdpatterns.web.transports import AsyncExchange, AsyncLive, Exchange, Library, Live

try:
    import httpx
except ImportError as missing:
    raise ImportError('pip install "sdpatterns[httpx]"') from missing

__all__ = ["AnsweredUnavailable", "AsyncPool", "AsyncTransport", "Transport", "retry_after_s"]

_SocketOption: TypeAlias = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20)
# httpcore 1.0.9 counts busy connections as free ones, and closes a surplus one although it has just lent it to another
# thread, which then reads from a closed socket (its issue 1110). Where none is surplus, none is closed.
_LIMITS_FOR_THREADS = httpx.Limits(max_connections=100, max_keepalive_connections=100)


class AnsweredUnavailable(httpx.TransportError):
    """The server answered that it cannot serve now. Seen by the parts of the pipeline only.

    It is a `TransportError`, so that a retry or breaker that names those sees it too. When the
    last attempt ends with it, the client gets `response` and no exception.
    """

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(f"the server answered {response.status_code}")
        self.response = response
        self.retry_after_s = retry_after_s(response.headers.get("retry-after"))


class _AsyncLive(AsyncLive, httpx.AsyncByteStream):
    pass


class _Live(Live, httpx.SyncByteStream):
    pass


class _Lent(LentStream, httpx.AsyncByteStream):
    pass


_ASYNC = Library(httpx.Request, httpx.Response, httpx.ByteStream, _AsyncLive, AnsweredUnavailable)
_BLOCKING = Library(httpx.Request, httpx.Response, httpx.ByteStream, _Live, AnsweredUnavailable)


class AsyncPool(httpx.AsyncBaseTransport):
    """A connection pool for an `httpx.AsyncClient` that loses no connection to cancelled requests.

    It takes the place of `httpx.AsyncHTTPTransport`, whose pool loses a connection when a request is cancelled
    in the wrong moment (httpcore 1.0.9). Here each connection is a transport of its own, which is closed with a
    request that is cancelled or fails.

    **Keeps**: after any number of cancellations all `limits.max_connections` can be used, and no socket is
    open that the pool does not know. Requests that wait for a connection get it first come, first served,
    within their pool timeout. A free connection is closed `limits.keepalive_expiry` after its last request,
    when the next request begins or ends.

    **May fail** with httpx's exceptions; `httpx.PoolTimeout` also when 10,000 requests wait already.

    **Costs** less than httpx's pool, because that one looks at all its connections for each request.
    There is no HTTP/2: one connection serves one request at a time. For HTTP/2 use
    `httpx.AsyncHTTPTransport(http2=True)`, whose pool can lose connections.
    """

    def __init__(
        self,
        *,
        limits: httpx.Limits = _LIMITS,
        verify: ssl.SSLContext | bool = True,
        trust_env: bool = True,
        proxy: httpx.Proxy | httpx.URL | str | None = None,
        uds: str | None = None,
        local_address: str | None = None,
        retries: int = 0,
        socket_options: Iterable[_SocketOption] | None = None,
    ) -> None:
        single = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=limits.keepalive_expiry)
        make = partial(
            httpx.AsyncHTTPTransport,
            verify=httpx.create_ssl_context(verify=verify, trust_env=trust_env),
            trust_env=trust_env,
            limits=single,
            proxy=proxy,
            uds=uds,
            local_address=local_address,
            retries=retries,
            socket_options=None if socket_options is None else list(socket_options),
        )
        self._slots = Slots(
            make,
            slots_max=limits.max_connections,
            idle_max=limits.max_keepalive_connections,
            idle_s=limits.keepalive_expiry,
            too_late=httpx.PoolTimeout,
            lent=_Lent,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request on a connection of its own."""
        return cast("httpx.Response", await self._slots.send(request))

    async def aclose(self) -> None:
        """Close all connections, those in use too."""
        await self._slots.aclose()


class AsyncTransport(httpx.AsyncBaseTransport):
    """Runs `pipeline` around each request of an `httpx.AsyncClient`.

    A key of a part may depend on the request: `breaker.by(lambda request: request.url.host)`.
    Requests that must not be sent twice (POST and PATCH without an Idempotency-Key, bodies that are
    streams) pass through the pipeline without its retries. Answers with a status in `unavailable`
    are failures to the pipeline, `AnsweredUnavailable` with the server's `retry_after_s`; the
    client gets the last one as the answer that it is.

    The body is read inside the attempt, so that retry, timeout and breaker see one that drips, hangs
    or breaks off. Not read are bodies longer than `body_bytes_max` (from there on), streams of events
    and the like, and those of requests with `extensions={"reads_body": False}`; `reads_body=False`
    says so for all. For them the pipeline ends with the headers, and the carried deadline goes on.

    **Keeps**: no request that is not idempotent is sent twice; a request and its body end with the
    carried deadline; no cancellation costs a connection; an answer that the pipeline does not pass on
    holds none. **May fail** with httpx's exceptions, `DeadlineExceeded`, and whatever the pipeline's
    parts raise. **Costs** what they cost, and the memory of the bodies that it reads.

    `inner` sends the requests, an `AsyncPool()` if you give none.
    """

    def __init__(
        self,
        pipeline: Policy,
        *,
        inner: httpx.AsyncBaseTransport | None = None,
        unavailable: Collection[int] = UNAVAILABLE,
        carries_context: bool = True,
        reads_body: bool = True,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        outgoing = Outgoing(pipeline, unavailable, carries_context=carries_context, body_bytes_max=body_bytes_max)
        self._inner = AsyncPool() if inner is None else inner
        self._exchange = AsyncExchange(self._inner.handle_async_request, outgoing, _ASYNC, reads_body=reads_body)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request through the pipeline."""
        return cast("httpx.Response", await self._exchange(request))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class Transport(httpx.BaseTransport):
    """`AsyncTransport` for `httpx.Client`, in programs without an event loop.

    Raises TypeError for a pipeline with a part that needs a loop, such as `Timeout`: a thread cannot
    be interrupted. The network's own timeouts are bound by the carried deadline instead, and a body
    that is not there by then is cut off.

    `inner` sends the requests; if you give none, an `httpx.HTTPTransport` that keeps all of its 100 connections
    open while they are free, for five seconds. Give one of your own a `max_keepalive_connections` that is no lower
    than its `max_connections`, or threads can get "Bad file descriptor" (httpcore 1.0.9).
    """

    def __init__(
        self,
        pipeline: Policy,
        *,
        inner: httpx.BaseTransport | None = None,
        unavailable: Collection[int] = UNAVAILABLE,
        carries_context: bool = True,
        reads_body: bool = True,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        reason = pipeline.needs_loop()
        if reason:
            raise TypeError(f"{pipeline.name!r} needs an event loop: {reason}")
        outgoing = Outgoing(pipeline, unavailable, carries_context=carries_context, body_bytes_max=body_bytes_max)
        self._inner = httpx.HTTPTransport(limits=_LIMITS_FOR_THREADS) if inner is None else inner
        self._exchange = Exchange(self._inner.handle_request, outgoing, _BLOCKING, reads_body=reads_body)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request through the pipeline."""
        return cast("httpx.Response", self._exchange(request))

    def close(self) -> None:
        self._inner.close()
