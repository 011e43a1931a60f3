"""The load profiles: one file for Locust and k6, and criteria that decide the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from deploy.checks.npm import installed
from deploy.load.scaling import Customers, sustained
from sdpatterns.testing.load import Criteria, LoadStage, Profile
from tests.loops import on_virtual_asyncio

LOAD = Path(__file__).parents[2] / "deploy" / "load"
PROFILES = json.loads((LOAD / "profiles.json").read_text(encoding="utf-8"))


def type_errors(place: Path, script: str) -> str:
    """What the TypeScript compiler says of a script for k6; empty when all is well."""
    packages = installed(LOAD)
    (place / "k6.ts").write_text(script, encoding="utf-8")
    (place / "tsconfig.json").write_text((LOAD / "tsconfig.json").read_text(encoding="utf-8"), encoding="utf-8")
    (place / "node_modules").symlink_to(packages / "node_modules")
    compiler = packages / "node_modules" / ".bin" / "tsc"
    return subprocess.run([compiler, "-p", place], capture_output=True, text=True, check=False).stdout


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param("", "", id="as it is"),
        pytest.param('duration: "0s"', 'duratoin: "0s"', id="a field of a stage"),
        pytest.param("maxVUs: 500", 'maxVUs: "500"', id="a number"),
        pytest.param("http.post(", "http.pots(", id="a function"),
    ],
)
def test_the_script_for_k6_has_the_right_types(tmp_path: Path, right: str, wrong: str) -> None:
    script = (LOAD / "k6.ts").read_text(encoding="utf-8")
    assert right in script
    said = type_errors(tmp_path, script.replace(right, wrong) if right else script)
    assert bool(said) == bool(wrong), said


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_says_why_how_much_and_what_is_good_enough(name: str) -> None:
    profile = PROFILES[name]
    assert profile.keys() == {"why", "stages", "criteria"}
    assert profile["criteria"].keys() == {"failed_max", "p95_ms"}
    stages = [LoadStage(each["seconds"], each["per_second"], each.get("to_per_second")) for each in profile["stages"]]
    assert 100 <= len(list(Profile(*stages).due_s(None))) <= 50_000


def test_a_load_on_a_shop_that_is_away_ends_with_exit_code_1() -> None:
    words = ["--load", "baseline", "--size", "0.02", "--host", "http://127.0.0.1:9"]
    ended = subprocess.run(
        [sys.executable, "-m", "deploy.load", *words], cwd=LOAD.parents[1], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "BROKEN  failed: 100.000% <= 0.100%" in ended.stdout


@pytest.mark.nightly
def test_a_load_on_a_shop_of_its_own_ends_with_exit_code_0_when_its_criteria_hold() -> None:
    """A crowd so small that a busy machine serves it too; only what failed is looked at, for the same reason."""
    words = [sys.executable, "-m", "deploy.load", "--load", "baseline", "--size", "0.05"]
    ended = subprocess.run(words, cwd=LOAD.parents[1], capture_output=True, text=True, check=False)
    assert "holds   requests" in ended.stdout, ended.stderr
    assert "holds   failed: 0.000% <= 0.100%" in ended.stdout
    assert ended.returncode == (0 if "holds   p95" in ended.stdout else 1)


@pytest.mark.anyio
@on_virtual_asyncio
@pytest.mark.parametrize("first_per_s", [10.0, 200.0], ids=["from below", "from above"])
async def test_the_highest_rate_that_keeps_the_criteria_is_found(first_per_s: float) -> None:
    """Four at once that take 100 ms each are 40 a second."""
    places = anyio.Semaphore(4)

    async def request(_number: int) -> None:
        async with places:
            await anyio.sleep(0.1)

    criteria = Criteria(failed_max=0.0, p95_s=0.3)
    step = await sustained(Customers([]), request, criteria, first_per_s, 20.0)
    assert 25 < step.per_s < 41
