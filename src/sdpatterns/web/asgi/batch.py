"""A batch: many requests in one, each answered for itself.

```
client --POST /batch--> [ outer middleware ] --> BatchMiddleware --item--> [ inner middleware ] --> app
                          once for the batch                      --item-->  once for each item
```

The answer is 200 with a list of the items' own statuses. 207 (Multi-Status) would promise the XML body
that RFC 4918, 13, defines for it, and says no more to a client: both say "look inside".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

import anyio

from sdpatterns.core.context import with_deadline
from sdpatterns.resilience.timeout import Timeout
from sdpatterns.web.asgi.protocol import (
    ASGIApp,
    BodyTooLarge,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    header_values,
    local_path,
    send_problem,
    whole_body,
)
from sdpatterns.web.batches import Entry, Item, ItemAnswer, answers, entries
from sdpatterns.web.problems import Problem, problem_of

__all__ = ["HEADERS", "METHODS", "BatchMiddleware"]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
"""What a request of a batch may do, unless the setting says otherwise."""
HEADERS = (
    "accept", "accept-language", "accept-version", "content-type", "idempotency-key", "if-match",
    "if-modified-since", "if-none-match", "if-unmodified-since", "prefer",
)  # fmt: skip
"""What a request of a batch may say for itself; all else it inherits."""

_log = logging.getLogger("sdpatterns")
_MARK = "sdpatterns.batch"
_ROUTED = ("app", "endpoint", "fastapi", "path_params", "route", "router", "sdpatterns.inner")
# What describes the batch as a message, or is a condition on it, says nothing of its items.
_NOT_INHERITED = frozenset(
    b"accept accept-encoding connection content-encoding content-language content-length content-type"
    b" content-digest content-md5 digest expect if-match if-modified-since if-none-match if-range"
    b" if-unmodified-since idempotency-key keep-alive prefer range repr-digest te trailer transfer-encoding"
    b" upgrade x-http-method x-http-method-override x-method-override".split()
)


class BatchMiddleware:
    """Answers many requests in one: runs the list of requests that comes to `path` on the application inside.

    An item passes whatever stands between this middleware and the application, as a request of its
    own, and nothing that stands outside: put the rate limit inside to count items, outside to count
    batches. It inherits the batch's cookies, authorization, trace and client; it may bring only
    `headers`, because the others were judged outside, and only `methods`. Its own Idempotency-Key
    makes it safe to repeat. Cookies that items set are set by the batch's answer.

    Items run beside each other, `concurrency` at a time: with 1, one after the other in their order.
    All share `timeout_s`, or what the request's deadline leaves of it; those that are not done by then
    are stopped and get 504.

    **Keeps**: whatever becomes of one item, the others are carried out and answered; no item is a
    batch. **May fail**: 400, 405, 413 or 415 for a batch that is none, 408 for one that has not arrived
    after `body_timeout_s`. **Costs** a task for each item;
    `items_max` requests of `bytes_max` together, and `answer_bytes_max` of each answer in memory: over
    it an item gets 502, though it was carried out.

    Source: RFC 9110, 15; RFC 9457.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        path: str = "/batch",
        methods: Collection[str] = METHODS,
        headers: Collection[str] = HEADERS,
        items_max: int = 20,
        bytes_max: int = 1_048_576,
        answer_bytes_max: int = 1_048_576,
        concurrency: int = 4,
        timeout_s: float = 30.0,
        body_timeout_s: float = 10.0,
    ) -> None:
        for field, value in (("items_max", items_max), ("bytes_max", bytes_max), ("concurrency", concurrency)):
            if value < 1:
                raise ValueError(f"{field} must be 1 or more, got {value!r}")
        if answer_bytes_max < 0:
            raise ValueError(f"answer_bytes_max must not be negative, got {answer_bytes_max!r}")
        if not body_timeout_s > 0:
            raise ValueError(f"body_timeout_s must be more than 0, got {body_timeout_s!r}")
        if not path.startswith("/"):
            raise ValueError(f"path must begin with a slash, got {path!r}")
        self._app = app
        self._timed = Timeout(timeout_s, name="batch").wrap(self._passed)
        self._timeout_s = timeout_s
        self._body_timeout_s = body_timeout_s
        self._path = path
        self._methods = frozenset(method.upper() for method in methods)
        self._headers = frozenset(name.lower() for name in headers)
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._answer_bytes_max = answer_bytes_max
        self._concurrency = concurrency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # First whether the path holds ours at all: that rules out nearly every request for a fraction of the cost.
        if scope["type"] != "http" or self._path not in scope["path"] or local_path(scope) != self._path:
            await self._app(scope, receive, send)
            return
        refused = self._refusal(scope)
        if refused is not None:
            await send_problem(send, refused, [(b"allow", b"POST")] if refused.status == 405 else [])
            return
        try:
            with anyio.fail_after(self._body_timeout_s):
                body = await whole_body(scope, receive, self._bytes_max)
            if body is None:
                return
            found = entries(body, items_max=self._items_max, methods=self._methods, headers=self._headers)
        except TimeoutError:
            detail = f"A batch has to arrive within {self._body_timeout_s:g} s."
            await send_problem(send, Problem(status=408, detail=detail), [(b"connection", b"close")])
        except BodyTooLarge:
            await send_problem(send, Problem(status=413, detail=f"A batch has at most {self._bytes_max} bytes."))
        except ValueError as error:
            await send_problem(send, Problem(status=400, title="Not a batch", detail=str(error)))
        else:
            await _send_answers(send, found, await self._run(scope, found))

    def _refusal(self, scope: Scope) -> Problem | None:
        if _MARK in scope:
            return Problem(status=400, detail="A batch holds no batches.")
        if scope["method"] != "POST":
            return Problem(status=405, detail="A batch is sent by POST.")
        kinds = [value.partition(";")[0].strip().lower() for value in header_values(scope, b"content-type")]
        if kinds != ["application/json"]:
            # No form of another site's can be of this type without the browser asking first.
            return Problem(status=415, detail="A batch is of the type application/json.")
        return None

    async def _run(self, scope: Scope, found: list[Entry]) -> list[ItemAnswer]:
        got: dict[str, ItemAnswer] = {}
        room = anyio.Semaphore(self._concurrency)

        async def one(entry: Entry) -> None:
            async with room:
                got[entry.id] = await self._answer(scope, entry.request)

        with with_deadline(self._timeout_s):
            # A task for each: what one item sets in its context is nothing to the next.
            async with anyio.create_task_group() as items:
                for entry in found:
                    items.start_soon(one, entry)
        # In the order of the requests, because a client may pair the answers by position.
        return [got[entry.id] for entry in found]

    async def _passed(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, request: Item | Problem) -> ItemAnswer:
        if isinstance(request, Problem):
            return ItemAnswer.of(request)
        inside = _inside(scope, request)
        if local_path(inside) == self._path:
            return ItemAnswer.of(Problem(status=400, detail="A batch holds no batches."))
        record = _Record(request.body, self._answer_bytes_max)
        try:
            await self._timed(inside, record.receive, record.send)
        except asyncio.CancelledError as error:
            if _is_to_end():
                raise
            return record.answer(error)
        except Exception as error:  # noqa: BLE001 - whatever becomes of one item, the others are answered
            return record.answer(error)
        return record.answer(None)


def _is_to_end() -> bool:
    """Whether this task was asked to end; an application may also raise that by itself."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


class AnswerTooLarge(Exception):
    """An item's answer is over the bound, or has no end."""


class _Record:
    """Stands for the client of one item."""

    def __init__(self, body: bytes, bytes_max: int) -> None:
        self._pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        self._bytes_max = bytes_max
        self._start: Message | None = None
        self._body = bytearray()
        self._too_large = False
        self._ended = anyio.Event()

    async def receive(self) -> Message:
        if self._pending:
            return self._pending.pop()
        await self._ended.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        # Like a server, it ignores what comes after the end of an answer.
        if self._ended.is_set():
            return
        if message["type"] == "http.response.start":
            self._start = message
            self._take(is_endless=_is_endless(message))
        elif message["type"] == "http.response.body":
            self._take(message.get("body", b""))
            if not message.get("more_body", False):
                self._ended.set()

    def _take(self, more: bytes = b"", *, is_endless: bool = False) -> None:
        self._too_large = self._too_large or is_endless or len(self._body) + len(more) > self._bytes_max
        if self._too_large:
            # Raised in the application, so that it stops producing what would be dropped.
            raise AnswerTooLarge("the answer does not fit into a batch")
        self._body += more

    def answer(self, error: BaseException | None) -> ItemAnswer:
        """What was sent; where that is no whole answer, the problem that the item ran into."""
        if self._too_large:
            return ItemAnswer.of(_TOO_LARGE)
        problem = problem_of(error) if isinstance(error, Exception) else None
        if error is not None and problem is None:
            _log.error("a request of a batch failed", exc_info=error)
        # A complete answer counts also if the application failed after it, as with a server.
        if self._start is not None and self._ended.is_set():
            return ItemAnswer(self._start["status"], list(self._start.get("headers", ())), bytes(self._body))
        return ItemAnswer.of(problem or Problem(status=500))


_TOO_LARGE = Problem(
    status=502, detail="This request was carried out; its answer is too large for a batch, or a stream without end."
)


def _is_endless(start: Message) -> bool:
    headers: Headers = list(start.get("headers", ()))
    return any(name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)


def _inside(scope: Scope, item: Item) -> Scope:
    """The scope of one item: the batch's, except for what the item asks."""
    mount = scope["path"].removesuffix(local_path(scope))
    own = {name for name, _ in item.headers}
    inherited = [
        (name, value)
        for name, value in scope["headers"]
        if name.lower() not in _NOT_INHERITED and name.lower() not in own
    ]
    length = [(b"content-length", b"%d" % len(item.body))] if item.body or item.method not in {"GET", "HEAD"} else []
    inside = {name: value for name, value in scope.items() if name not in _ROUTED}
    inside |= {
        "method": item.method,
        "path": mount + item.path,
        "raw_path": mount.encode() + item.raw_path,
        "query_string": item.query,
        "headers": inherited + item.headers + length,
        "extensions": {},
        _MARK: True,
    }
    if "state" in scope:
        # A copy, as a server gives each request: what one item stores there must not reach another.
        inside["state"] = scope["state"].copy()
    return inside


async def _send_answers(send: Send, found: list[Entry], got: list[ItemAnswer]) -> None:
    body = answers(zip([entry.id for entry in found], got, strict=True))
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    # A browser keeps cookies only from the headers of the whole answer.
    headers += [pair for answer in got for pair in answer.headers if pair[0].lower() == b"set-cookie"]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
