"""What an application does after its answer is no part of the request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI
from starlette.middleware.base import BaseHTTPMiddleware

from sdpatterns import Timeout, listen
from sdpatterns.core.context import Trace, deadline_left_s, trace
from sdpatterns.core.notices import Notice
from sdpatterns.core.tracing import trace_with
from sdpatterns.web.asgi.metrics import MetricsMiddleware
from sdpatterns.web.asgi.tracing import TracingMiddleware
from sdpatterns.web.notices import RequestFinished
from tests.loops import on_virtual_asyncio
from tests.web.asgi.asking import client

pytestmark = [pytest.mark.anyio, on_virtual_asyncio]

BOUND = {"x-deadline-ms": "1000"}


def everyone(_scope: Any) -> bool:
    return True


class Mails:
    def __init__(self) -> None:
        self.sent: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.app = FastAPI()
        self.app.post("/background")(self.background)
        self.app.post("/task")(self.task)

    async def send(self, name: str) -> None:
        assert trace.get() is not None
        await Timeout(30.0).call(asyncio.sleep, 5.0)
        await Timeout(30.0).call(asyncio.sleep, 5.0)
        self.sent.append(name)

    async def background(self, tasks: BackgroundTasks) -> str:
        tasks.add_task(self.send, "background")
        return "fine"

    async def task(self) -> str:
        self.tasks.append(asyncio.create_task(self.send("task")))
        await asyncio.sleep(0.5)
        return "fine"


async def test_a_deadline_ends_with_the_answer() -> None:
    mails = Mails()
    async with client(TracingMiddleware(mails.app, trusts=everyone)) as http:
        assert (await http.post("/background", headers=BOUND)).status_code == 200
        assert (await http.post("/task", headers=BOUND)).status_code == 200
    await asyncio.gather(*mails.tasks)
    assert mails.sent == ["background", "task"]
    assert deadline_left_s() is None


async def test_a_deadline_ends_with_the_answer_behind_a_middleware_that_runs_the_application_in_a_task() -> None:
    async def passing(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    mails = Mails()
    mails.app.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    async with client(TracingMiddleware(mails.app, trusts=everyone)) as http:
        assert (await http.post("/background", headers=BOUND)).status_code == 200
        assert (await http.post("/task", headers=BOUND)).status_code == 200
    await asyncio.gather(*mails.tasks)
    assert mails.sent == ["background", "task"]


async def test_before_the_answer_a_deadline_holds_for_tasks_too() -> None:
    stopped: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.create_task(Timeout(30.0).call(asyncio.sleep, 5.0))
        except TimeoutError as late:
            stopped.append(type(late).__name__)
        await send({"type": "http.response.start", "status": 504, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})

    async with client(TracingMiddleware(app, trusts=everyone)) as http:
        assert (await http.get("/", headers=BOUND)).status_code == 504
    assert stopped == ["DeadlineExceeded"]


class Clocked:
    """A tracer whose one server span remembers when it ended."""

    def __init__(self) -> None:
        self.name = ""
        self.ended_at = -1.0

    def here(self) -> Trace | None:
        return None

    def start(self, name: str, /, kind: Any, facts: Any, links: Any, parent: Any) -> _Span:
        return _Span(self if kind == "server" else Clocked())


class _Span:
    trace = Trace("ab" * 16, "ab" * 8)

    def __init__(self, told: Clocked) -> None:
        self._told = told

    def note(self, name: str, value: Any, /) -> None:
        pass

    def rename(self, name: str, /) -> None:
        self._told.name = name

    def fail(self, reason: str, /) -> None:
        pass

    def end(self, error: BaseException | None, /) -> None:
        self._told.ended_at = asyncio.get_running_loop().time()


async def test_the_time_of_a_request_ends_with_the_last_byte_of_its_answer() -> None:
    seen: list[Notice] = []
    app, tracer = Mails().app, Clocked()
    began = asyncio.get_running_loop().time()
    with listen(seen.append), trace_with(tracer):
        async with client(MetricsMiddleware(TracingMiddleware(app), name="mails")) as http:
            await http.post("/background")
    [told] = [notice for notice in seen if isinstance(notice, RequestFinished)]
    assert (told.route, told.status, told.duration_s) == ("/background", 200, 0.0)
    assert (tracer.name, tracer.ended_at - began) == ("POST /background", 0.0)
