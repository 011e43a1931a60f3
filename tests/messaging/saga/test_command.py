"""`python -m sdpatterns.messaging.saga`: what it prints, and what it does."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.runtime import finish
from sdpatterns.messaging.saga import SagaRun, Sagas, SagaTable, SagaWorker, TableStep
from sdpatterns.messaging.saga.__main__ import main

_APP = "app_of_test_saga_command"


@dataclasses.dataclass
class Money:
    cents: int


async def fine(number: int) -> int:
    return number


async def away() -> None:
    raise ConnectionError("reset")


@pytest.fixture
def sagas() -> Iterator[Sagas]:
    """One run that has completed, and one that is parked."""
    sagas = Sagas("orders", backend=MemoryBackend())

    @sagas.saga(attempts_max=1)
    async def order(run: SagaRun, *, fails: bool) -> int:
        number = await run.step("count", fine, 7, undo=fine)
        if fails:
            await run.step("call", away)
        return number

    async def both() -> None:
        await order.options(id="good").start(fails=False)
        await order.options(id="bad").start(fails=True)
        await SagaWorker(sagas).run_due()

    finish(both())
    module = ModuleType(_APP)
    module.sagas = sagas  # type: ignore[attr-defined]
    sys.modules[_APP] = module
    yield sagas
    del sys.modules[_APP]


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main([f"{_APP}:sagas", *words]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


@pytest.mark.usefixtures("sagas")
def test_it_lists_runs_and_where_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "list").splitlines()
    assert lines[0].split() == ["id", "saga", "status", "at"]
    assert lines[1].split() == ["good", "order", "completed"]
    assert lines[2].startswith("bad   order  parked     step 'call': attempt 1 of 1: ConnectionError: reset")
    assert "good" not in said(capsys, "list", "--status", "parked")
    assert said(capsys, "list", "--status", "undone") == "no runs\n"


@pytest.mark.usefixtures("sagas")
def test_it_shows_what_has_happened_in_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    table = said(capsys, "show", "good")
    assert [line.split()[2:5] for line in table.splitlines()[1:]] == [
        ["run", "started", "order"], ["step", "began", "count"], ["step", "done", "count"],
        ["run", "ended", "status='completed'"],
    ]  # fmt: skip
    assert "value=7" in table
    assert "there is no run 'other' of 'orders'" in said(capsys, "show", "other", code=1)


@pytest.mark.usefixtures("sagas")
def test_it_draws_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "diagram", "bad").splitlines() == [
        "flowchart LR", '  start(["order"])', '  s0["count: done"]', "  start --> s0",
        '  s1["call: attempt 1"]', "  s0 --> s1", '  end1(["parked"])', "  s1 --> end1",
    ]  # fmt: skip


def test_it_draws_a_saga_that_is_a_table(sagas: Sagas, capsys: pytest.CaptureFixture[str]) -> None:
    async def same(order: Money) -> Money:
        return order

    sagas.saga(SagaTable("pay", Money, [TableStep("charge", same)]))
    assert '  s0["charge"]' in said(capsys, "definition", "pay").splitlines()
    assert "is a function: draw one of its runs" in said(capsys, "definition", "order", code=1)
    assert "'orders' has no saga 'other'" in said(capsys, "definition", "other", code=1)


def test_it_resumes_and_cancels_runs(sagas: Sagas, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "resume", "good", "bad") == "good: is not parked\nbad: goes on\n"
    assert said(capsys, "retry", "good") == "good: is not parked\n"
    assert said(capsys, "cancel", "good", "bad") == "good: is too far for that\nbad: stops at its next step\n"
    assert finish(sagas.queue.depth()).due == 1


def test_it_records_runs_and_replays_them_with_other_code(
    sagas: Sagas, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "journals" / "order-1-good.journal.jsonl"
    assert said(capsys, "record", "good", "--to", str(path.parent)) == f"{path}\n"
    assert said(capsys, "replay", str(path.parent)) == f"{path}: fits\n"

    async def order(run: SagaRun, *, fails: bool) -> None:
        await run.step("call", away)

    sagas.known["order", 1].function = order
    assert said(capsys, "replay", str(path.parent), code=1).splitlines() == [
        "1 of 1 journals of 'orders' do not fit the code:",
        f"  {path}: the code has changed: the journal goes on with 'count', and the code asks for step 'call'",
    ]


def test_a_wrong_name_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere:sagas", "list"]) == 2
    assert "nowhere" in capsys.readouterr().err
