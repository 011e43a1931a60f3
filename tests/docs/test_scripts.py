"""The first code that a reader sees runs when it is pasted into a file, and prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_blocks import FENCE, ROOT, addresses, with_real

PAGES = [ROOT / "README.md", ROOT / "docs" / "index.md"]
PRINTED = re.compile(r"^```python\n(.*?)^```\n+```text\n(.*?)^```", re.DOTALL | re.MULTILINE)
DELAY = re.compile(r"delay_s=[0-9.e-]+")


def script(text: str, folder: Path) -> str:
    """What a program prints that is saved and started as a reader does it."""
    file = folder / "pasted.py"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, str(file)], cwd=folder, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_runs_as_a_file_of_its_own(page: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    real = addresses(page, request)
    blocks = FENCE.findall(page.read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        assert script(with_real(block, real), tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_first_block_prints_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    match = PRINTED.search(page.read_text(encoding="utf-8"))
    assert match is not None
    assert DELAY.sub("…", script(match[1], tmp_path)) == DELAY.sub("…", match[2])
