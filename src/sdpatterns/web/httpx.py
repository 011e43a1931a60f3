"""httpx transports that run a pipeline around each request and carry trace and deadline along.

```
client = httpx.AsyncClient(transport=AsyncTransport(Pipeline(Retry(on=httpx.TransportError), breaker, name="psp")))
```

| header sent | from |
|---|---|
| `traceparent`, `tracestate` | the current trace, with a span for each attempt |
| `X-Deadline-Ms` | the milliseconds that the current call has left |
| `X-Correlation-Id` | the current correlation id |
"""

from __future__ import annotations

from collections.abc import Collection
from contextvars import ContextVar
from datetime import UTC
from email.utils import parsedate_to_datetime

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import correlation_id, deadline_left_s, trace
from sdpatterns.core.pipeline import Pipeline
from sdpatterns.core.policy import AsyncCall, Keyed, Policy, check_keyed, lifted
from sdpatterns.core.runtime import finish
from sdpatterns.core.tracecontext import child_of, traceparent_of
from sdpatterns.core.tracing import TRACERS, Opened, Span, Value
from sdpatterns.errors import DeadlineExceeded

try:
    import httpx
except ImportError as missing:
    raise ImportError('pip install "sdpatterns[httpx]"') from missing

__all__ = ["AnsweredUnavailable", "AsyncTransport", "Transport", "retry_after_s"]

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_UNAVAILABLE = (429, 502, 503, 504)
_RETRY_AFTER_MAX_S = 86_400.0

_LAST: ContextVar[httpx.Response | None] = ContextVar("sdpatterns_last_answer", default=None)
# What the last attempt of this request got, for the next one to let go of. A context variable, so
# that attempts that run beside each other, in tasks of their own, do not take it for unwanted.


class AnsweredUnavailable(httpx.TransportError):
    """The server answered that it cannot serve now. Seen by the parts of the pipeline only.

    It is a `TransportError`, so that a retry or breaker that names those sees it too. When the
    last attempt ends with it, the client gets `response` and no exception.
    """

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(f"the server answered {response.status_code}")
        self.response = response
        self.retry_after_s = retry_after_s(response.headers.get("retry-after"))


def retry_after_s(value: str | None) -> float | None:
    """The seconds that a Retry-After header asks for, from 0 to a day; None for none or nonsense."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), _RETRY_AFTER_MAX_S)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return min(max(0.0, at.timestamp() - SYSTEM.now_us() / 1e6), _RETRY_AFTER_MAX_S)


class _Door:
    """What the two transports share: which pipeline a request takes, and what it carries."""

    def __init__(self, pipeline: Policy, unavailable: Collection[int], *, carries_context: bool) -> None:
        check_keyed(pipeline, None)
        self.name = pipeline.name
        self._pipeline = pipeline
        self._single = _without_retry(pipeline)
        self._unavailable = frozenset(unavailable)
        self._carries_context = carries_context

    def wrapped(self, request: httpx.Request, call: AsyncCall) -> AsyncCall:
        """`call` in the pipeline, or in what is left of it without its retries."""
        part = self._pipeline if _is_repeatable(request) else self._single
        return call if part is None else part.wrap(call)

    def is_unavailable(self, response: httpx.Response) -> bool:
        """Whether the answer counts as a failure of the transport."""
        return response.status_code in self._unavailable

    def prepared(self, request: httpx.Request) -> httpx.Request:
        """A copy with trace and deadline, anew for each attempt: the request may be sent again later."""
        left_s = deadline_left_s()
        attempt = httpx.Request(
            request.method,
            request.url,
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        if left_s is not None:
            if left_s <= 0:
                raise DeadlineExceeded(self.name, 0.0)
            self._limit(attempt, left_s)
        if self._carries_context:
            _carry(attempt, left_s)
        return attempt

    @staticmethod
    def _limit(request: httpx.Request, left_s: float) -> None:
        asked = request.extensions.get("timeout", {})
        phases = {phase: asked.get(phase) for phase in ("connect", "read", "write", "pool")}
        limited = {phase: left_s if asked_s is None else min(asked_s, left_s) for phase, asked_s in phases.items()}
        request.extensions = {**request.extensions, "timeout": limited}


def _carry(request: httpx.Request, left_s: float | None) -> None:
    here = trace.get()
    if here is not None:
        # With a tracer there is a span for this attempt, and it is the current one.
        request.headers["traceparent"] = traceparent_of(here if TRACERS else child_of(here))
        if here.state:
            request.headers["tracestate"] = here.state
    if left_s is not None:
        request.headers["x-deadline-ms"] = str(int(left_s * 1000))
    correlation = correlation_id.get()
    if correlation is not None:
        request.headers.setdefault("x-correlation-id", correlation)


def _opened(request: httpx.Request) -> Opened:
    """The span of one attempt. Of the address neither user, password nor query: they may be secrets."""
    url = request.url
    facts: dict[str, Value] = {
        "http.request.method": request.method,
        "url.full": str(url.copy_with(userinfo=b"", query=None, fragment=None)),
        "server.address": url.host,
    }
    return Opened(request.method, "client", facts)


def _note_answer(span: Span, response: httpx.Response) -> None:
    span.note("http.response.status_code", response.status_code)
    if response.status_code >= 400:
        span.fail(f"{response.status_code}")


def _is_repeatable(request: httpx.Request) -> bool:
    """Whether sending it twice does what sending it once does, and its body can be sent twice."""
    is_harmless = request.method in _REPEATABLE or "idempotency-key" in request.headers
    return is_harmless and isinstance(request.stream, httpx.ByteStream)


def _without_retry(policy: Policy) -> Policy | None:
    """The same part without anything that would repeat the call; None when nothing is left."""
    inner = policy.part if isinstance(policy, Keyed) else policy
    if not isinstance(inner, Pipeline):
        return None if "repeats" in inner.traits else policy
    left = [part for part in map(_without_retry, inner.parts) if part is not None]
    return Pipeline(*left, name=inner.name) if left else None


class AsyncTransport(httpx.AsyncBaseTransport):
    """Runs `pipeline` around each request of an `httpx.AsyncClient`.

    A key of a part may depend on the request: `breaker.by(lambda request: request.url.host)`.
    Requests that must not be sent twice (POST and PATCH without an Idempotency-Key, bodies that are
    streams) pass through the pipeline without its retries. Answers with a status in `unavailable`
    are failures to the pipeline, `AnsweredUnavailable` with the server's `retry_after_s`; the
    client gets the last one as the answer that it is.

    **Keeps**: no request that is not idempotent is sent twice; nothing waits longer for the network
    than the carried deadline; an answer that the pipeline does not pass on holds no connection.
    **May fail** with httpx's exceptions, `DeadlineExceeded`, and whatever the pipeline's parts
    raise. **Costs** what they cost; an answer that counts as unavailable is read into memory.
    """

    def __init__(
        self,
        pipeline: Policy,
        *,
        inner: httpx.AsyncBaseTransport | None = None,
        unavailable: Collection[int] = _UNAVAILABLE,
        carries_context: bool = True,
    ) -> None:
        self._door = _Door(pipeline, unavailable, carries_context=carries_context)
        self._inner = httpx.AsyncHTTPTransport() if inner is None else inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request through the pipeline."""
        answers: list[httpx.Response] = []

        async def attempt(request: httpx.Request) -> httpx.Response:
            """One request over the wire; the answer before it, if any, is closed first."""
            unwanted = _LAST.get()
            if unwanted is not None:
                await unwanted.aclose()
            answers.append(await self._send(request))
            _LAST.set(answers[-1])
            return answers[-1]

        response: httpx.Response
        kept: object = None
        before = _LAST.get()
        _LAST.set(None)
        try:
            kept = response = await self._door.wrapped(request, attempt)(request)
        except AnsweredUnavailable as refused:
            kept = response = refused.response
        finally:
            _LAST.set(before)
            for answer in answers:
                if answer is not kept:
                    await answer.aclose()
        return response

    async def _send(self, request: httpx.Request) -> httpx.Response:
        if not TRACERS:
            return await self._exchange(request)
        with _opened(request) as span:
            try:
                response = await self._exchange(request)
            except AnsweredUnavailable as refused:
                _note_answer(span, refused.response)
                raise
            _note_answer(span, response)
            return response

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(self._door.prepared(request))
        if self._door.is_unavailable(response):
            assert isinstance(response.stream, httpx.AsyncByteStream)
            try:
                content = b"".join([chunk async for chunk in response.stream])
            finally:
                await response.aclose()
            raise AnsweredUnavailable(_held(response, content))
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class Transport(httpx.BaseTransport):
    """`AsyncTransport` for `httpx.Client`, in programs without an event loop.

    Raises TypeError for a pipeline with a part that needs a loop, such as `Timeout`: the network's
    own timeouts are bound by the carried deadline instead.
    """

    def __init__(
        self,
        pipeline: Policy,
        *,
        inner: httpx.BaseTransport | None = None,
        unavailable: Collection[int] = _UNAVAILABLE,
        carries_context: bool = True,
    ) -> None:
        reason = pipeline.needs_loop()
        if reason:
            raise TypeError(f"{pipeline.name!r} needs an event loop: {reason}")
        self._door = _Door(pipeline, unavailable, carries_context=carries_context)
        self._inner = httpx.HTTPTransport() if inner is None else inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request through the pipeline."""
        answers: list[httpx.Response] = []

        def attempt(request: httpx.Request) -> httpx.Response:
            unwanted = _LAST.get()
            if unwanted is not None:
                unwanted.close()
            answers.append(self._send(request))
            _LAST.set(answers[-1])
            return answers[-1]

        response: httpx.Response
        kept: object = None
        before = _LAST.get()
        _LAST.set(None)
        try:
            kept = response = finish(self._door.wrapped(request, lifted(attempt))(request))
        except AnsweredUnavailable as refused:
            kept = response = refused.response
        finally:
            _LAST.set(before)
            for answer in answers:
                if answer is not kept:
                    answer.close()
        return response

    def _send(self, request: httpx.Request) -> httpx.Response:
        if not TRACERS:
            return self._exchange(request)
        with _opened(request) as span:
            try:
                response = self._exchange(request)
            except AnsweredUnavailable as refused:
                _note_answer(span, refused.response)
                raise
            _note_answer(span, response)
            return response

    def _exchange(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(self._door.prepared(request))
        if self._door.is_unavailable(response):
            assert isinstance(response.stream, httpx.SyncByteStream)
            try:
                content = b"".join(response.stream)
            finally:
                response.close()
            raise AnsweredUnavailable(_held(response, content))
        return response

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


def _held(response: httpx.Response, content: bytes) -> httpx.Response:
    # The bytes as they came over the wire, so that the client decodes them as ever.
    return httpx.Response(
        response.status_code,
        headers=response.headers,
        stream=httpx.ByteStream(content),
        extensions=response.extensions,
    )
