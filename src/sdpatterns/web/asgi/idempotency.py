"""The header Idempotency-Key: a request that is sent twice is carried out once.

| the request | gets |
|---|---|
| no key where one is required, or one that is no string | 400 |
| a key whose first request is in flight | 409 with Retry-After |
| a key used before with another request | 422 |
| a key used before with this request | the first answer: status, headers and body, byte for byte |
| the same, where the answer was not kept | 409 without Retry-After |
| a body over the bound | 413 |

Source: draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Literal, TypeAlias

from sdpatterns.coordination.idempotency import Claim, Idempotency, Replay
from sdpatterns.core.asking import asked
from sdpatterns.core.judging import answering, callable_of
from sdpatterns.errors import AnswerNotKept, BackendError, ClaimHeld, ClaimLost, KeyReused
from sdpatterns.web.asgi.answer import Recorder, send_stored
from sdpatterns.web.asgi.protocol import (
    ASGIApp,
    BodyTooLarge,
    Message,
    Receive,
    Scope,
    Send,
    altered,
    awaitable_part,
    by_bytes_alone,
    headers_named,
    send_problem,
    whole_body,
)
from sdpatterns.web.problems import Problem, problem_of

__all__ = ["IdempotencyMiddleware", "Quotes", "judges"]

Quotes: TypeAlias = Literal["required", "optional"]
"""Whether a key stands in double quotes, as the draft has it, or may come without."""

_KEY_CHARS_MAX = 255
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BARE = re.compile(r"[\x21\x23-\x7e][\x21-\x7e]*")
_BARE_FORM = "one word of ASCII characters"
_HELD = "sdpatterns.idempotency"
# These say "elsewhere", "log in first", "with other headers" or "later": nothing was carried out, and the same
# request may be right the next time. The headers that they ask for are no part of what makes a request the same.
_NO_VERDICT = frozenset({300, 301, 304, 305, 307, 308, 401, 407, 408, 411, 412, 417, 421, 423, 425, 426, 428, 429, 431})


def judges(status: int) -> bool:
    """Whether an answer of this status is the answer of the request, rather than a reason to send it again.

    So are successes, 302 and 303 (as after a form was taken), and those of 400 to 499 that judge the request
    itself.
    """
    return status < 500 and status not in _NO_VERDICT


class IdempotencyMiddleware:
    """Runs the application once per key and gives later requests the answer of the first.

    ```
    app = IdempotencyMiddleware(app, Idempotency("http", store=backend.states), required=True)
    ```

    `methods` are the ones that are protected; others pass. `required` refuses those without a key,
    for all of them or by scope. `tenant` gives the name of the customer that the key belongs to (default:
    keys are the application's), because two customers may choose the same key; it may be async. A request
    is the same when method, path (a slash at its end aside), query, tenant, content type and body are.
    `header` is the name of the header; with `quotes="optional"` a key may come without double quotes, as
    many clients send it.

    The answer is stored before its last byte is sent, so that a client that got it can get it again. Not
    stored are `Date`, `Set-Cookie` and hop-by-hop headers. An answer that decides nothing frees the key, as
    an exception does: by default (`stores=judges`) those of 500 and more, 401, 407, 408, 412, 421, 425, 429
    and others that ask for the same request again, and redirects of it (301, 307, 308); whatever `stores`
    says, an error with Retry-After. (A framework that answers 500 itself, as Starlette does,
    frees it before the exception is seen: `store_errors` of the policy counts where no answer was sent.)
    A stream passes to its client as it comes, and is stored before its last part. Of an answer over
    `answer_bytes_max`, or of type text/event-stream, only that it was carried out is stored, and a second
    request gets 409 without Retry-After rather than a second execution. So does one whose first answer its
    client, or a failure, cut off.

    Twice in the way of one request, as in a mounted application, it acts once.

    **Keeps**: one execution per key and request among those whose answer is stored.
    **May fail**: 503 while the store is away (unless the policy says `on_outage="allow"`), 409 when
    the lease was lost. **Costs** two steps on the store, the body and the answer in memory.
    """

    def __init__(
        self,
        app: ASGIApp,
        idempotency: Idempotency,
        *,
        methods: Collection[str] = ("POST", "PATCH"),
        required: bool | Callable[[Scope], bool] = False,
        tenant: Callable[[Scope], str | Awaitable[str]] = lambda _scope: "",
        header: str = "Idempotency-Key",
        quotes: Quotes = "required",
        body_bytes_max: int = 1_048_576,
        answer_bytes_max: int = 524_288,
        stores: Callable[[int], bool] = judges,
    ) -> None:
        from sdpatterns.web import http_sf

        if body_bytes_max < 0:
            raise ValueError(f"body_bytes_max must not be negative, got {body_bytes_max!r}")
        bound = idempotency.config.answer_bytes_max // 2
        if not 0 <= answer_bytes_max <= bound:
            # Bodies are kept as base64 beside their headers, which takes up to twice their size.
            raise ValueError(f"answer_bytes_max must be from 0 to half the policy's, {bound}, got {answer_bytes_max!r}")
        self._app = app
        self._idempotency = awaitable_part(idempotency)
        self._methods = frozenset(method.upper() for method in methods)
        self._required = required if isinstance(required, bool) else answering("required", required)
        self._tenant = callable_of("tenant", tenant)
        if not _NAME.fullmatch(header):
            raise ValueError(f"header must be the name of a header, got {header!r}")
        if quotes not in {"required", "optional"}:
            raise ValueError(f"quotes must be 'required' or 'optional', got {quotes!r}")
        self._header = header
        self._lower_header = header.lower().encode()
        self._read = frozenset({self._lower_header, b"content-length", b"content-type"})
        self._takes_bare = quotes == "optional"
        self._body_bytes_max = body_bytes_max
        self._answer_bytes_max = answer_bytes_max
        self._stores = answering("stores", stores)
        self._key_of = http_sf.string_item

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in self._methods:
            await self._app(scope, receive, send)
            return
        said = headers_named(scope, self._read)
        lines = said.get(self._lower_header)
        if lines is None:
            await self._without_key(scope, receive, send)
            return
        try:
            key = self._key(lines)
        except ValueError as error:
            await send_problem(send, _malformed(self._header, str(error)))
            return
        named: Any = self._tenant(scope)
        tenant: str = named if isinstance(named, str) else await asked(named)
        held = (id(self._idempotency), tenant, key)
        if held in scope.get(_HELD, ()):
            await self._app(scope, receive, send)
            return
        try:
            body = await whole_body(scope, receive, self._body_bytes_max, said.get(b"content-length", ()))
        except BodyTooLarge:
            await send_problem(send, _too_large(self._header, self._body_bytes_max))
            return
        if body is not None:
            inside = altered(by_bytes_alone(scope), {_HELD: (*scope.get(_HELD, ()), held)})
            request = _request(scope, tenant, said.get(b"content-type", []), body)
            await self._with_key((tenant, key), request, body, inside, receive, send)

    async def _without_key(self, scope: Scope, receive: Receive, send: Send) -> None:
        required = self._required if isinstance(self._required, bool) else self._required(scope)
        if required:
            await send_problem(send, _malformed(self._header, f"This request needs the header {self._header}."))
        else:
            await self._app(scope, receive, send)

    def _key(self, lines: list[str]) -> str:
        try:
            is_bare = self._takes_bare and len(lines) == 1 and _BARE.fullmatch(lines[0])
            key = lines[0] if is_bare else self._key_of(lines)
        except ValueError as cause:
            form = (
                "one word of ASCII characters" if self._takes_bare else 'one structured-field string, as in "8e03978e"'
            )
            raise ValueError(f"{self._header} must be {form}.") from cause
        if not 1 <= len(key) <= _KEY_CHARS_MAX:
            raise ValueError(f"{self._header} must have 1 to {_KEY_CHARS_MAX} characters.")
        return key

    async def _with_key(
        self, whole: tuple[str, str], request: list[object], body: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            taken = await self._idempotency.claim(whole, request)
        except (AnswerNotKept, ClaimHeld, KeyReused) as refusal:
            await send_problem(send, _problem_of(refusal))
            return
        except BackendError as error:
            if self._idempotency.bypasses(whole, error):
                await self._app(scope, _replayed(body, receive), send)
            else:
                await send_problem(send, _problem_of(error))
            return
        if isinstance(taken, Replay):
            await send_stored(taken.result(), send)
        else:
            await self._first(taken, body, scope, receive, send)

    async def _first(self, claim: Claim, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        recorder = Recorder(claim, send, self._answer_bytes_max, self._stores)

        async def receive_and_see() -> Message:
            message = await receive()
            recorder.client_has_left = message["type"] == "http.disconnect"
            return message

        async def work() -> None:
            try:
                await self._app(scope, _replayed(body, receive_and_see), recorder)
            except BaseException:
                await recorder.break_off()
                raise

        try:
            await claim.hold(work)
        except (ClaimLost, BackendError) as error:
            # The claim's failure, and nothing of the answer has left: the client can get an error.
            if recorder.has_sent or not (claim.is_lost or error is recorder.failure):
                raise
            await send_problem(send, _problem_of(error))
            return
        await recorder.close()


def _request(scope: Scope, tenant: str, content_type: list[str], body: bytes) -> list[object]:
    path = scope.get("raw_path") or scope["path"].encode()
    return [
        scope["method"],
        scope.get("root_path", ""),
        # Where a framework redirects between the two, its client sends the same request to either.
        path.rstrip(b"/"),
        scope.get("query_string", b""),
        tenant,
        content_type,
        hashlib.blake2b(body, digest_size=32).digest(),
    ]


def _replayed(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again


def _malformed(header: str, detail: str) -> Problem:
    return Problem(status=400, title=f"{header} is missing or malformed", detail=detail)


def _too_large(header: str, bytes_max: int) -> Problem:
    return Problem(status=413, detail=f"A request with the header {header} carries at most {bytes_max} bytes.")


def _problem_of(error: Exception) -> Problem:
    problem = problem_of(error)
    assert problem is not None
    return problem
