"""`python -m shop gameday FILE`: hold a game day on a shop that is running, and keep its record."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import httpx2

from shop.plain_http import no_authority
from shop.stage.gameday.game_day import HELD
from shop.stage.gameday.record import as_markdown
from shop.stage.total_timeout import TotalTimeoutClient

_PATIENCE_S = 20.0
_SILENT_S = 60.0
_LOOKS_S = 0.3
_VERDICTS = {True: "holds", False: "DOES NOT HOLD", None: "not judged"}


async def held(file: Path, url: str, records: Path | None) -> int:
    """Let the control room of the shop at `url` hold it; 0 when all hypotheses held and the shop is as before.

    Ctrl-C stops it, and everything is put back.
    """
    try:
        async with TotalTimeoutClient(base_url=url, timeout=_PATIENCE_S, verify=no_authority()) as http:
            return await _followed(http, await asyncio.to_thread(file.read_text, encoding="utf-8"), records)
    except OSError as error:
        print(f"shop: {file} cannot be read: {error.strerror}", file=sys.stderr)
    except (httpx2.HTTPError, httpx2.InvalidURL):
        print(f"shop: no shop answers at {url}", file=sys.stderr)
    return 1


async def _followed(http: httpx2.AsyncClient, text: str, records: Path | None) -> int:
    begun = await http.post("/control/api/gameday", json={"toml": text})
    if not begun.is_success:
        print(f"shop: the game day cannot begin: {_refusal(begun)}", file=sys.stderr)
        return 1
    record = begun.json()["game_day"]
    print(f"{record['title']}: {record['hypothesis']}\n", flush=True)
    try:
        record = await _told(http)
    except BaseException:
        with contextlib.suppress(httpx2.HTTPError):
            await asyncio.shield(http.request("DELETE", "/control/api/gameday"))
        raise
    for row in record["hypotheses"]:
        print(f"  {_VERDICTS[row['held']]:15}{row['name']}{_found(row)}")
    print(f"\n{str(record['result']).capitalize()}.")
    if records is not None:
        _write(record, records)
    return 0 if record["result"] == HELD else 1


def _found(row: dict[str, Any]) -> str:
    return f" ({row['found']})" if row["found"] else ""


def _refusal(answer: httpx2.Response) -> str:
    try:
        document = answer.json()
        errors = [f"{error['pointer']} {error['detail']}" for error in document.get("errors", ())]
        return "; ".join(errors) or str(document["detail"])
    except (ValueError, KeyError):
        return str(answer.status_code)


async def _told(http: httpx2.AsyncClient) -> dict[str, Any]:
    """Print what is told as it comes, until the end; a control room that is busy is asked again for a minute."""
    printed = 0
    while True:
        async with asyncio.timeout(_SILENT_S):
            record = await _record(http)
        for line in record["told"][printed:]:
            print(f"{line['at_s']:6.1f} s  {line['text']}", flush=True)
        printed = len(record["told"])
        if record["ended_at"]:
            return record
        await asyncio.sleep(_LOOKS_S)


async def _record(http: httpx2.AsyncClient) -> dict[str, Any]:
    while True:
        with contextlib.suppress(httpx2.TransportError):
            answer = await http.get("/control/api/gameday")
            if answer.is_success:
                return dict(answer.json()["game_day"])
        await asyncio.sleep(1.0)


def _write(record: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / str(record["name"])
    place.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    place.with_suffix(".md").write_text(as_markdown(record), encoding="utf-8")
    print(f"The record: {place.with_suffix('.md')}")
