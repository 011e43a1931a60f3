"""Thousands of requests made up from the document of the API: no fault of ours, no answer it does not know."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from shop.gateway import openapi

from .visitor import Visitor

pytestmark = pytest.mark.anyio

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
)


async def tried(visitor: Visitor, folder: Path, *, examples: int) -> int:
    """How many requests were made, none of which met anything undocumented."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", visitor.settings.public + openapi.PATH),
        *("--checks", ",".join(CHECKS), "--max-examples", str(examples), "--seed", "1"),
        *("--rate-limit", "250/s", "--warnings", "off", "--no-color", "--report-dir", str(folder)),
    ]
    done = await anyio.run_process(command, check=False, cwd=folder, stderr=subprocess.STDOUT)
    told = done.stdout.decode()
    assert done.returncode == 0, told
    found = re.search(r"^ *(\d+) generated", told, re.MULTILINE)
    assert found is not None, told
    return int(found[1])


@pytest.mark.nightly
async def test_random_requests_get_no_5xx(visitor: Visitor, tmp_path: Path) -> None:
    assert await tried(visitor, tmp_path, examples=2) > 100
    await visitor.settled()
    await visitor.all_holds()


@pytest.mark.long
@pytest.mark.timeout(600)  # it takes two minutes
async def test_two_thousand_random_requests_get_no_5xx(visitor: Visitor, tmp_path: Path) -> None:
    assert await tried(visitor, tmp_path, examples=140) >= 2_000
    await visitor.settled()
    await visitor.all_holds()
