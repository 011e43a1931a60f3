"""Both doors, as mypy and pyright see them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOORS = ["async_door.py", "blocking_door.py", "messages.py"]


def check(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=HERE.parents[1], check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_mypy_finds_the_types_it_should():
    check("mypy", "--strict", *(str(HERE / door) for door in DOORS))


@pytest.mark.timeout(300)
def test_pyright_finds_the_types_it_should():
    check("pyright", "--pythonpath", sys.executable, *(str(HERE / door) for door in DOORS))


def test_a_wrong_type_would_be_found(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text((HERE / "async_door.py").read_text().replace("depth=2), float)", "depth=2), int)"))
    with pytest.raises(AssertionError, match="assert-type"):
        check("mypy", "--strict", str(wrong))
