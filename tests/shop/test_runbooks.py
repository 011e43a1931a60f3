"""The runbooks: each alert leads to one, and the commands of all of them work on a shop that is watched."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.monitoring.generate import RULES, RUNBOOKS
from sdpatterns import Outbox
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.ports.queue import Message, Park
from tests.monitoring.live import Watch, watching
from tests.programs import needed

from .visitor import Visitor

pytestmark = pytest.mark.anyio

PAGES = Path(__file__).parents[2] / "docs" / "runbooks"
SCRAPED = ("gateway", "ordering", "payments", "fulfilment")
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
"""A block with a title says how to set up, and is not run."""
AROUND = {**os.environ, "USER": "test", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
"""With the Python of the tests as `python`."""
FOR_A_PERSON = re.compile(r"\$RUN\b")
"""Needs a run that is parked; `test_saga_view.py` resumes one."""


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def commands() -> list[tuple[str, str]]:
    """Each block of each page."""
    return [
        (page.name, block)
        for page in sorted(PAGES.glob("*.md"))
        for block in BLOCK.findall(page.read_text(encoding="utf-8"))
        if not FOR_A_PERSON.search(block)
    ]


async def test_every_alert_leads_to_a_page_of_its_own() -> None:
    named = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in alerts()}
    pages = {path.stem for path in PAGES.glob("*.md")} - {"index"}
    assert {url.removeprefix(RUNBOOKS).strip("/") for url in named.values()} == pages
    for alert, url in named.items():
        page = PAGES / f"{url.removeprefix(RUNBOOKS).strip('/')}.md"
        assert page.read_text(encoding="utf-8").startswith(f"# {alert}\n")


@pytest.mark.nightly
async def test_the_commands_of_all_pages_work(shared: Visitor) -> None:
    for program, package in (("prometheus", "prometheus"), ("amtool", "prometheus-alertmanager"), ("curl", "curl")):
        needed(program, package)
    order = (await shared.buy()).json()["order_id"]
    await shared.settled()
    with watching([shared.settings.address(context) for context in SCRAPED]) as watch:
        around = {**AROUND, **surroundings(shared, watch), "ORDER": order}
        refused = [
            (page, block, said)
            for page, block in commands()
            if (said := await said_if_refused(block, around)) is not None
        ]
    assert refused == []
    assert len(commands()) > 50


def surroundings(visitor: Visitor, watch: Watch) -> dict[str, str]:
    services = {context.upper(): visitor.settings.address(context) for context in SCRAPED}
    watched = {"PROMETHEUS": watch.prometheus, "ALERTMANAGER": watch.alertmanager}
    store = f"sqlite+aiosqlite:///{visitor.settings.storage('ordering')}"
    return {**services, **watched, "SHOP": visitor.settings.public, "ORDERING_STORE": store}


async def said_if_refused(block: str, around: dict[str, str]) -> str | None:
    """What a block printed, if one of its commands failed."""
    code, said = await answer(block, around)
    return None if code == 0 else said


async def answer(block: str, around: dict[str, str]) -> tuple[int | None, str]:
    words = ("bash", "-euo", "pipefail", "-c", block)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, env=around, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_the_runbook_puts_a_parked_event_back(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'ordering.sqlite3'}"
    ((_, block),) = [(page, text) for page, text in commands() if "Outbox" in text]
    around = {**AROUND, "ORDERING_STORE": url}
    async with SQLBackend.from_url(url) as backend:
        await backend.create()
        queue = Outbox("orders", backend=backend).queue
        await queue.publish([Message(id="told", payload=b"{}", key="order")])
        (claimed,) = (await queue.claim(1, 60.0)).messages
        assert await queue.settle([Park(claimed, "refused 1000 times")]) == [True]
        assert (await queue.depth()).parked == 1
        code, said = await answer(block, around)
        assert (code, said) == (0, "told 1 refused 1000 times\n[True]\n")
        depth = await queue.depth()
    assert (depth.parked, depth.due) == (0, 1)
