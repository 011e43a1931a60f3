"""What the control room asks a service about its sagas: how many are under way, and the way of one of them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sdpatterns.errors import EventsTrimmed
from sdpatterns.messaging.saga import Journal, RunStatus, Sagas
from sdpatterns.messaging.saga.journal import (
    RunFailed,
    StepBegan,
    StepDone,
    StepFailed,
    StepRetried,
    StepUndone,
    UndoRetried,
    decoded,
)
from sdpatterns.ports.log import RecordedEvent
from shop.problems import not_found

_PAGE = 1_000
_NEWEST = 12
_PARKED_SHOWN = 50
_SAID_MAX = 120

Row = dict[str, Any]


class RunBook:
    """The runs of a set of sagas, read on from where the last reading stopped.

    Keeps: of runs that have ended it knows their number and the newest of them.
    """

    def __init__(self, sagas: Sagas) -> None:
        self._sagas = sagas
        self._lock = asyncio.Lock()
        self._position: int | None = None
        self._open: dict[str, Journal] = {}
        self._began: dict[str, int] = {}
        self._ended: Counter[str] = Counter()
        self._newest: deque[Row] = deque(maxlen=_NEWEST)

    async def view(self) -> Row:
        """How many runs there are in each status, those that wait for a person, and the newest ones."""
        async with self._lock:
            await self._read_on()
        now = {run_id: self._row(run_id, journal) for run_id, journal in self._open.items()}
        counts = self._ended + Counter(row["status"] for row in now.values())
        parked = [row for row in now.values() if row["status"] == RunStatus.PARKED]
        newest = [now.get(row["run_id"], row) for row in reversed(self._newest)]
        return {"counts": dict(counts), "parked": parked[:_PARKED_SHOWN], "newest": newest}

    async def _read_on(self) -> None:
        log, is_more = self._sagas.log, True
        position = (await log.head()).trimmed if self._position is None else self._position
        while is_more:
            page = await log.read_all(position, _PAGE)
            for event in page.events:
                self._take(event)
            self._position, is_more = page.position, page.is_more
            position = page.position

    def _take(self, event: RecordedEvent) -> None:
        run_id = event.stream
        if run_id not in self._open:
            if event.version != 1:  # of a run that had ended, or whose beginning is not kept
                return
            self._open[run_id], self._began[run_id] = Journal(), event.recorded_us
            self._newest.append({"run_id": run_id})
        journal = self._open[run_id]
        journal.read((event,))
        for number, row in enumerate(self._newest):
            if row["run_id"] == run_id:
                self._newest[number] = self._row(run_id, journal)
        if journal.ended is not None:
            self._ended[journal.status.value] += 1
            del self._open[run_id], self._began[run_id]

    def _row(self, run_id: str, journal: Journal) -> Row:
        failed = "" if journal.failed is None else journal.failed.reason
        return {
            "run_id": run_id,
            "saga": "" if journal.started is None else journal.started.saga,
            "status": journal.status.value,
            "began_us": self._began[run_id],
            "reason": (journal.parked or failed)[:_SAID_MAX],
        }


def steps_of(events: Iterable[RecordedEvent], services: Mapping[str, str]) -> list[Row]:
    """The steps of a run: each with its service, its attempts and its undo, in microseconds since 1970."""
    steps: dict[str, Row] = {}
    undo_us = 0
    for event in events:
        entry, at_us = decoded(event), event.recorded_us
        match entry:
            case StepBegan(step, kind):
                service = services.get(step, "")
                steps[step] = {"step": step, "service": service, "kind": kind, "said": "", "undo": None}
                steps[step]["attempts"] = [_attempt(at_us)]
            case StepRetried(step, _, reason, due_us):
                _end(steps[step]["attempts"], at_us, "failed", reason)
                steps[step]["attempts"].append(_attempt(due_us))
            case StepDone(step, value):
                _end(steps[step]["attempts"], at_us, "refused" if _refused(value) else "done", "")
                steps[step]["said"] = said(value)
            case StepFailed(step, _):
                _end(steps[step]["attempts"], at_us, "refused", "")
            case RunFailed():
                undo_us = at_us
            case UndoRetried(step, _, reason, due_us):
                _end(_undo(steps[step], undo_us), at_us, "failed", reason)
                steps[step]["undo"].append(_attempt(due_us))
            case StepUndone(step):
                _end(_undo(steps[step], undo_us), at_us, "done", "")
                undo_us = at_us
            case _:
                pass
    return list(steps.values())


def _undo(step: Row, since_us: int) -> list[Row]:
    step["undo"] = step["undo"] or [_attempt(since_us)]
    found: list[Row] = step["undo"]
    return found


def _attempt(at_us: int) -> Row:
    return {"from_us": at_us, "to_us": None, "is": "running", "reason": ""}


def _end(attempts: list[Row], at_us: int, how: str, reason: str) -> None:
    attempts[-1].update({"to_us": at_us, "is": how, "reason": reason[:_SAID_MAX]})


def _refused(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value.get("slug"))


def said(value: Any) -> str:
    """What a step returned, in a few words."""
    if value in (None, "", {}, []):
        return ""
    if isinstance(value, Mapping) and "detail" in value:
        return str(value["detail"])[:_SAID_MAX]
    return json.dumps(value, default=str)[:_SAID_MAX]


def saga_view(sagas: Sagas, services: Mapping[str, str]) -> list[Route]:
    """The routes; `services` names the service that does each step."""
    book = RunBook(sagas)

    async def runs(_request: Request) -> Response:
        return JSONResponse(await book.view())

    async def run(request: Request) -> Response:
        run_id = request.path_params["run_id"]
        try:
            page = await sagas.log.read(run_id, 0, _PAGE)
        except EventsTrimmed:
            raise not_found("such run any more") from None
        if not page.events:
            raise not_found("such run")
        journal = Journal()
        journal.read(page.events)
        failed = "" if journal.failed is None else journal.failed.reason
        return JSONResponse(
            {
                "run_id": run_id,
                "saga": "" if journal.started is None else journal.started.saga,
                "status": journal.status.value,
                "reason": journal.parked or failed,
                "began_us": page.events[0].recorded_us,
                "last_us": page.events[-1].recorded_us,
                "steps": steps_of(page.events, services),
            }
        )

    async def resume(request: Request) -> Response:
        try:
            resumed = await sagas.handle(request.path_params["run_id"]).resume()
        except LookupError:
            raise not_found("such run") from None
        return JSONResponse({"resumed": resumed})

    return [
        Route("/internal/sagas", runs),
        Route("/internal/sagas/{run_id}", run),
        Route("/internal/sagas/{run_id}/resume", resume, methods=["POST"]),
    ]
