"""An aiohttp client middleware that runs a pipeline around each request and carries trace and deadline along.

```
async with aiohttp.ClientSession(middlewares=[ClientMiddleware(pipeline)]) as session:
```

| header sent | from |
|---|---|
| `traceparent`, `tracestate` | the current trace, with a span for each attempt |
| `X-Deadline-Ms` | the milliseconds that the current call has left |
| `X-Correlation-Id` | the current correlation id |
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Collection
from contextvars import ContextVar
from typing import Any, cast

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import carried_deadline
from sdpatterns.core.policy import Policy
from sdpatterns.core.runtime import current
from sdpatterns.core.tracing import TRACERS, Opened
from sdpatterns.errors import DeadlineExceeded
from sdpatterns.web.outgoing import BODY_BYTES_MAX, UNAVAILABLE, Outgoing, note_answer, opened, retry_after_s

try:
    import aiohttp
except ImportError as missing:
    raise ImportError('pip install "sdpatterns[aiohttp]"') from missing

__all__ = ["AnsweredUnavailable", "ClientMiddleware", "retry_after_s"]


class AnsweredUnavailable(aiohttp.ClientError):
    """The server answered that it cannot serve now. Seen by the parts of the pipeline only.

    It is a `ClientError`, so that a retry or breaker that names those sees it too. When the last
    attempt ends with it, the client gets `response` and no exception.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        super().__init__(f"the server answered {response.status}")
        self.response = response
        self.retry_after_s = retry_after_s(response.headers.get("retry-after"))


class _Call:
    """One request of the client, over all its attempts."""

    __slots__ = ("answer", "handler", "is_sending")

    def __init__(self, handler: aiohttp.ClientHandlerType) -> None:
        self.handler = handler
        self.answer: aiohttp.ClientResponse | None = None
        self.is_sending = False

    def let_go(self, kept: aiohttp.ClientResponse | None) -> None:
        """Close the last answer, where it is not the one that is kept."""
        if self.answer is not None and self.answer is not kept:
            self.answer.close()
        self.answer = None


_CALL: ContextVar[_Call] = ContextVar("sdpatterns_aiohttp_call")


class ClientMiddleware:
    """Runs `pipeline` around each request of an `aiohttp.ClientSession`.

    A key of a part may depend on the request: `breaker.by(lambda request: request.url.host)`.
    Requests that must not be sent twice (POST and PATCH without an Idempotency-Key, bodies that are no
    bytes or text) pass through the pipeline without its retries: aiohttp would send a stream that it has
    sent before as an empty body. Answers with a status in `unavailable` are failures to the pipeline,
    `AnsweredUnavailable` with the server's `retry_after_s`; the client gets the last one as the answer
    that it is.

    The body is read inside the attempt, so that retry, timeout and breaker see one that drips, hangs
    or breaks off. Not read are bodies longer than `body_bytes_max` (from there on), streams of events
    and the like, and all with `reads_body=False`. For them the pipeline ends with the headers, and the
    carried deadline goes on. To stream one answer only, give its request a middleware of its own:
    `session.get(url, middlewares=[ClientMiddleware(pipeline, reads_body=False)])`.

    **Keeps**: no request that is not idempotent is sent twice; a request and its body end with the
    carried deadline; an answer that the pipeline does not pass on holds no connection. **May fail** with
    aiohttp's exceptions, `DeadlineExceeded`, and whatever the pipeline's parts raise; RuntimeError for a
    part that makes attempts side by side, because aiohttp sends a request object once at a time: put such
    a part around the call. **Costs** what the parts cost, and the memory of the bodies that it reads.
    """

    def __init__(
        self,
        pipeline: Policy,
        *,
        unavailable: Collection[int] = UNAVAILABLE,
        carries_context: bool = True,
        reads_body: bool = True,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        self._outgoing = Outgoing(pipeline, unavailable, carries_context=carries_context, body_bytes_max=body_bytes_max)
        self._reads_body = reads_body
        self._repeated, self._single = self._outgoing.around(self._attempt)

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        call, until = _Call(handler), carried_deadline()
        token = _CALL.set(call)
        kept: aiohttp.ClientResponse | None = None
        try:
            kept = await (self._repeated if self._may_repeat(request) else self._single)(request)
        except AnsweredUnavailable as refused:
            kept = refused.response
        finally:
            _CALL.reset(token)
            call.let_go(kept)
        answer = cast("aiohttp.ClientResponse", kept)
        if until is not None and not answer.content.is_eof():
            self._end_at(until, answer.content)
        return answer

    def _may_repeat(self, request: aiohttp.ClientRequest) -> bool:
        body = request.body
        repeats = isinstance(body, bytes | aiohttp.BytesPayload)
        return repeats and self._outgoing.may_repeat(request.method, request.headers)

    async def _attempt(self, request: aiohttp.ClientRequest) -> aiohttp.ClientResponse:
        call = _CALL.get()
        if call.is_sending:
            raise RuntimeError("aiohttp sends a request once at a time: make attempts side by side around the call")
        call.is_sending = True
        try:
            call.let_go(None)
            if not TRACERS:
                return await self._within_deadline(request, call)
            with _opened(request) as span:
                try:
                    response = await self._within_deadline(request, call)
                except AnsweredUnavailable as refused:
                    note_answer(span, refused.response.status)
                    raise
                note_answer(span, response.status)
                return response
        finally:
            call.is_sending = False

    async def _within_deadline(self, request: aiohttp.ClientRequest, call: _Call) -> aiohttp.ClientResponse:
        left_s = self._outgoing.left_s()
        self._outgoing.carry(request.headers, left_s)
        if left_s is None:
            return await self._answered(request, call)
        bound = current().bound(left_s)
        try:
            response = await self._answered(request, call)
        except BaseException as error:
            if bound.end(error):
                raise DeadlineExceeded(self._outgoing.name, left_s) from error
            raise
        bound.end(None)
        return response

    async def _answered(self, request: aiohttp.ClientRequest, call: _Call) -> aiohttp.ClientResponse:
        response = call.answer = await call.handler(request)
        is_unavailable = self._outgoing.is_unavailable(response.status)
        if is_unavailable or (self._reads_body and response.status != 101 and self._outgoing.is_read(response.headers)):
            await self._read(response.content)
        if is_unavailable:
            raise AnsweredUnavailable(response)
        return response

    async def _read(self, content: aiohttp.StreamReader) -> None:
        """Read the body as far as the bound, and put it back for the client."""
        chunks, size_bytes = [], 0
        while size_bytes <= self._outgoing.body_bytes_max and (chunk := await content.readany()):
            chunks.append(chunk)
            size_bytes += len(chunk)
        if chunks:
            with warnings.catch_warnings():
                # Marked as deprecated since 2018, and the only way to look at a body without taking it.
                warnings.simplefilter("ignore", DeprecationWarning)
                content.unread_data(b"".join(chunks))

    def _end_at(self, until: float, content: aiohttp.StreamReader) -> None:
        """Fail the reads of a body that is still to come from the deadline on."""
        left_s = max(0.0, until - SYSTEM.monotonic())
        late = DeadlineExceeded(self._outgoing.name, left_s)
        timer = asyncio.get_running_loop().call_later(left_s, content.set_exception, late)
        content.on_eof(timer.cancel)


def _opened(request: aiohttp.ClientRequest) -> Opened:
    url: Any = request.url
    shown = str(url.with_user(None).with_query(None).with_fragment(None))
    return opened(request.method, shown, url.host or "")
