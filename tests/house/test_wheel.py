"""The wheel as a user gets it: built, installed without extras, used."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sdpatterns
from tests.house.source import PACKAGE, ROOT
from tests.house.test_layers import NAMED_FOR

# Parts of `testing` that need pytest itself, because they are made of tests.
TEST_TOOLS = {"contracts", "plugin"}

# What stays behind when no extra is installed: every file that is named for a library.
GUESTS = sorted({word for value in NAMED_FOR.values() for word in value.split()} - {"testing"} | TEST_TOOLS)

IMPORT_ALL = """
import importlib, json, pathlib, sys, sdpatterns
root = pathlib.Path(sdpatterns.__file__).parent
guests, loaded, behind_an_extra = set(json.loads(sys.argv[1])), [], []
for path in sorted(root.rglob("*.py")):
    parts = path.relative_to(root.parent).with_suffix("").parts
    if not set(parts) & guests:
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        try:
            importlib.import_module(name)
        except ImportError as error:
            if 'pip install "sdpatterns[' not in str(error):
                raise
            behind_an_extra.append(name)
        else:
            loaded.append(name)
strangers = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(json.dumps({"loaded": loaded, "strangers": sorted(strangers), "behind": behind_an_extra}))
"""

OPEN_EACH_NAME = (
    "import sdpatterns\nfor name in sdpatterns.__all__: getattr(sdpatterns, name)\nprint(len(sdpatterns.__all__))"
)

LIMIT_IN_MEMORY = """
import asyncio
from sdpatterns import RateLimiter, per_second
from sdpatterns.backends.memory import MemoryBackend

async def main():
    async with MemoryBackend() as backend:
        limiter = RateLimiter("api", per_second(1, burst=3), store=backend.states)
        return [(await limiter.acquire("user:42")).allowed for _ in range(5)]

print(asyncio.run(main()))
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built the way a release builds it, but with the tools that are installed already."""
    out = tmp_path_factory.mktemp("dist")
    _run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)])
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def stranger(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment that has the wheel, what it depends on, and pytest; no extra."""
    place = tmp_path_factory.mktemp("stranger")
    _run([sys.executable, "-m", "virtualenv", "--quiet", str(place)])
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = ["-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    _run([str(python), *pip, str(wheel), "pytest"])
    return python


def test_the_wheel_carries_all_that_the_package_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {
        str(path.relative_to(PACKAGE.parent))
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix in {".py", ".pyi", ".lua", ".typed"} and "__pycache__" not in path.parts
    }
    assert wanted - names == set()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "examples/", "benchmarks/")) for name in names)


def test_the_wheel_has_the_version_that_the_package_says(wheel: Path) -> None:
    assert wheel.name.split("-")[1] == sdpatterns.__version__


@pytest.mark.nightly
def test_without_extras_all_but_the_guests_can_be_imported(stranger: Path) -> None:
    seen = json.loads(_run([str(stranger), "-I", "-W", "error", "-c", IMPORT_ALL, json.dumps(GUESTS)]))
    assert {"sdpatterns.backends.memory", "sdpatterns.testing.servers"} <= set(seen["loaded"])
    assert not set(seen["strangers"]) & set(NAMED_FOR)
    assert [name for name in seen["behind"] if not name.startswith("sdpatterns.web.asgi")] == []


def test_without_extras_each_name_on_the_front_door_opens(stranger: Path) -> None:
    assert int(_run([str(stranger), "-I", "-W", "error", "-c", OPEN_EACH_NAME])) == len(sdpatterns.__all__)


def test_without_extras_a_limiter_limits_in_memory(stranger: Path) -> None:
    said = _run([str(stranger), "-I", "-W", "error", "-c", LIMIT_IN_MEMORY]).strip()
    assert said == "[True, True, True, False, False]"


@pytest.mark.nightly
def test_without_extras_memory_keeps_its_contracts(stranger: Path, tmp_path: Path) -> None:
    """The suite of `tests/contracts/test_memory.py` on the wheel; trio is an extra, and so left out."""
    shutil.copy(ROOT / "tests" / "contracts" / "test_memory.py", tmp_path)
    said = _run([str(stranger), "-m", "pytest", "-q", "-W", "error", "-k", "not Trio", "test_memory.py"], tmp_path)
    passed = re.search(r"(\d+) passed", said)
    assert passed, said
    assert int(passed[1]) > 20


@pytest.mark.parametrize("extra", ["etcd", "nats", "redis", "sqlalchemy"])
def test_a_backend_without_its_library_says_what_to_install(stranger: Path, extra: str) -> None:
    done = subprocess.run(
        [str(stranger), "-I", "-c", f"import sdpatterns.backends.{extra}"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert f'pip install "sdpatterns[{extra}]"' in done.stderr.splitlines()[-1]


def _run(words: list[str], directory: Path = ROOT) -> str:
    # The user's Python must not find our checkout, nor be measured with it.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    done = subprocess.run(words, check=False, cwd=directory, capture_output=True, text=True, env=clean)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
