"""httpx2 transports that run a pipeline around each request and carry trace and deadline along.

```
client = httpx2.AsyncClient(transport=AsyncTransport(Pipeline(Retry(on=httpx2.TransportError), breaker, name="psp")))
```

| header sent | from |
|---|---|
| `traceparent`, `tracestate` | the current trace, with a span for each attempt |
| `X-Deadline-Ms` | the milliseconds that the current call has left |
| `X-Correlation-Id` | the current correlation id |

httpx2 is the maintained fork of httpx, with the same names. The two share no types: a client of one
refuses the transports, requests and timeouts of the other, and `except httpx.TransportError` does not
catch what httpx2 raises.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from sdpatterns.core.policy import Policy
from sdpatterns.web.outgoing import BODY_BYTES_MAX, UNAVAILABLE, Outgoing, retry_after_s
from sdpatterns.web.transports import AsyncExchange, AsyncLive, Exchange, Library, Live

try:
    import httpx2
except ImportError as missing:
    raise ImportError('pip install "sdpatterns[httpx2]"') from missing

__all__ = ["AnsweredUnavailable", "AsyncTransport", "Transport", "retry_after_s"]


class AnsweredUnavailable(httpx2.TransportError):
    """The server answered that it cannot serve now. Seen by the parts of the pipeline only.

    It is a `TransportError`, so that a retry or breaker that names those sees it too. When the
    last attempt ends with it, the client gets `response` and no exception.
    """

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(f"the server answered {response.status_code}")
        self.response = response
        self.retry_after_s = retry_after_s(response.headers.get("retry-after"))


class _AsyncLive(AsyncLive, httpx2.AsyncByteStream):
    pass


class _Live(Live, httpx2.SyncByteStream):
    pass


_ASYNC = Library(httpx2.Request, httpx2.Response, httpx2.ByteStream, _AsyncLive, AnsweredUnavailable)
_BLOCKING = Library(httpx2.Request, httpx2.Response, httpx2.ByteStream, _Live, AnsweredUnavailable)


class AsyncTransport(httpx2.AsyncBaseTransport):
    """Runs `pipeline` around each request of an `httpx2.AsyncClient`.

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
    holds none. **May fail** with httpx2's exceptions, `DeadlineExceeded`, and whatever the pipeline's
    parts raise. **Costs** what they cost, and the memory of the bodies that it reads.

    `inner` sends the requests, an `httpx2.AsyncHTTPTransport()` if you give none.
    """

    def __init__(
        self,
        pipeline: Policy,
        *,
        inner: httpx2.AsyncBaseTransport | None = None,
        unavailable: Collection[int] = UNAVAILABLE,
        carries_context: bool = True,
        reads_body: bool = True,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        outgoing = Outgoing(pipeline, unavailable, carries_context=carries_context, body_bytes_max=body_bytes_max)
        self._inner = httpx2.AsyncHTTPTransport() if inner is None else inner
        self._exchange = AsyncExchange(self._inner.handle_async_request, outgoing, _ASYNC, reads_body=reads_body)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request through the pipeline."""
        return cast("httpx2.Response", await self._exchange(request))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class Transport(httpx2.BaseTransport):
    """`AsyncTransport` for `httpx2.Client`, in programs without an event loop.

    Raises TypeError for a pipeline with a part that needs a loop, such as `Timeout`: a thread cannot
    be interrupted. The network's own timeouts are bound by the carried deadline instead, and a body
    that is not there by then is cut off.
    """

    def __init__(
        self,
        pipeline: Policy,
        *,
        inner: httpx2.BaseTransport | None = None,
        unavailable: Collection[int] = UNAVAILABLE,
        carries_context: bool = True,
        reads_body: bool = True,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        reason = pipeline.needs_loop()
        if reason:
            raise TypeError(f"{pipeline.name!r} needs an event loop: {reason}")
        outgoing = Outgoing(pipeline, unavailable, carries_context=carries_context, body_bytes_max=body_bytes_max)
        self._inner = httpx2.HTTPTransport() if inner is None else inner
        self._exchange = Exchange(self._inner.handle_request, outgoing, _BLOCKING, reads_body=reads_body)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request through the pipeline."""
        return cast("httpx2.Response", self._exchange(request))

    def close(self) -> None:
        self._inner.close()
