"""Game days: the files that are held on a real shop, their abort conditions, and what is put back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from shop.__main__ import main
from shop.stage.gameday import command
from shop.stage.gameday.record import as_markdown

from .visitor import Visitor

pytestmark = pytest.mark.anyio

CHAOS = Path(__file__).parents[2] / "deploy" / "chaos"
QUICK = (CHAOS / "quick.toml").read_text(encoding="utf-8")
CUT_SHORT = (CHAOS / "catalog-cut-short.toml").read_text(encoding="utf-8")


async def begin(shop: Visitor, text: str) -> httpx.Response:
    return await shop.http.post("/control/api/gameday", json={"toml": text})


async def ended(shop: Visitor) -> dict[str, Any]:
    async with asyncio.timeout(240):
        while True:
            record: dict[str, Any] = (await shop.get("/control/api/gameday"))["game_day"]
            if record["ended_at"]:
                return record
            await asyncio.sleep(0.1)


async def test_the_quick_file_is_held_by_the_command_and_leaves_a_record_and_nothing_else(
    shared: Visitor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await command.held(CHAOS / "quick.toml", shared.settings.public, tmp_path)
    said = capsys.readouterr()
    record = json.loads((tmp_path / "quick.json").read_text(encoding="utf-8"))
    assert (code, record["result"]) == (0, "held"), said
    assert [row["held"] for row in (*record["steady_state"], *record["hypotheses"])] == [True, True, True]
    answers = record["since"]["checkout-success"]["events"]
    assert answers >= 1, "its own customer, and one of an earlier test who is answered late"
    assert [line["text"].partition(":")[0] for line in record["told"]] == [
        "The steady state holds",
        "sellers",
        "The faults are withdrawn",
        "The steady state holds again",
    ]
    assert f"a customer who buys has an answer ({answers})" in said.out
    assert (tmp_path / "quick.md").read_text(encoding="utf-8") == as_markdown(record)
    state = await shared.state()
    assert (state["faults"], state["load"]["visitors"]) == ([], 0)
    assert state["game_day"]["name"] == "quick", "the page shows it"


async def test_an_abort_condition_withdraws_the_fault_at_once(shared: Visitor) -> None:
    assert (await begin(shared, CUT_SHORT)).status_code == 202
    refused = await begin(shared, QUICK)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/game-day-running")
    beside = await shared.http.post("/control/api/scenarios/double-click", json={"pace": 50, "size": 0.1})
    assert (beside.status_code, beside.json()["type"]) == (409, "/problems/game-day-running")
    record = await ended(shared)
    assert record["result"] == "aborted"
    (hit, invariants) = record["abort"]
    assert hit["hit_at_s"] is not None
    assert invariants["hit_at_s"] is None
    assert record["told"][-2]["text"] == "The faults are withdrawn"
    assert (await shared.state())["faults"] == []
    assert (await shared.http.get("/api/v1/products?limit=1")).status_code == 200


async def test_one_that_is_stopped_puts_everything_back(shared: Visitor) -> None:
    assert (await begin(shared, QUICK.replace("duration_s = 3", "duration_s = 600"))).status_code == 202
    async with asyncio.timeout(120):
        while not (await shared.state())["faults"]:  # noqa: ASYNC110 - watched from outside
            await asyncio.sleep(0.1)
    record = (await shared.http.delete("/control/api/gameday")).json()["game_day"]
    assert record["result"] == "stopped"
    assert (await shared.state())["faults"] == []


async def test_nothing_is_broken_where_the_steady_state_does_not_hold(shared: Visitor) -> None:
    assert (await begin(shared, QUICK.replace("equals = 0", "equals = 9", 1))).status_code == 202
    record = await ended(shared)
    assert record["result"] == "not begun"
    assert record["steady_state"][0]["before"] == "0"
    assert [line["text"] for line in record["told"]] == ["The steady state does not hold, so nothing was broken"]


async def test_a_hypothesis_that_does_not_hold_is_refuted(
    shared: Visitor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.toml"
    # Not "no buyers": an earlier test's customer who is answered late counts as well.
    file.write_text(QUICK.replace("above = 0", "above = 1000", 1), encoding="utf-8")
    assert await command.held(file, shared.settings.public, None) == 1
    said = capsys.readouterr().out
    assert "DOES NOT HOLD  a customer who buys has an answer (" in said
    assert said.endswith("Refuted.\n")


async def test_a_file_that_cannot_be_held_is_refused_with_each_field(
    shared: Visitor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for body in ({}, {"toml": 5}, {"toml": "x" * 20_001}, {"toml": "[["}):
        assert (await shared.http.post("/control/api/gameday", json=body)).status_code == 422
    file = tmp_path / "typo.toml"
    file.write_text(QUICK.replace("ttl_s = 10", "ttl = 10"), encoding="utf-8")
    assert await command.held(file, shared.settings.public, None) == 1
    said = capsys.readouterr().err
    assert "/faults/0/ttl_s" in said
    assert "/faults/0/ttl " in said


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gameday", str(tmp_path / "none.toml"), "--url", "http://127.0.0.1:9"]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert main(["gameday", str(CHAOS / "quick.toml"), "--url", "http://127.0.0.1:9"]) == 1
    assert "no shop answers" in capsys.readouterr().err
