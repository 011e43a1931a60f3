"""Hazard 27: pins that cannot live together. Here redis-py 5.0 and the newest both pass the contracts.

The newest is the one installed beside these tests, so it runs them in `tests/contracts/test_redis.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import redis

ROOT = Path(__file__).parents[2]
OLDEST = "5.0.0"

CONTRACTS = """
import os
import pytest
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.testing import contracts


class Valkey(contracts.BackendContract):
    blocking = False

    def build(self):
        return RedisBackend.from_url(os.environ["VALKEY_URL"], blocking=self.blocking, timeout_s=60.0)


class TestLoop(
    Valkey,
    contracts.StateStoreContract,
    contracts.StoredStatesContract,
    contracts.CancelledStatesContract,
    contracts.SignalBusContract,
    contracts.SharedSignalsContract,
):
    runtime = "asyncio"


class TestThreads(Valkey, contracts.StateStoreContract, contracts.StoredStatesContract, contracts.SignalBusContract):
    runtime = "blocking"
    blocking = True


def test_which_release_this_was():
    import redis

    print("redis-py", redis.__version__)
    assert redis.__version__ == os.environ["REDIS_PY"]
"""


@pytest.fixture(scope="session")
def oldest(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The oldest release, beside the installed one; fetched once for each checkout."""
    cache, name = pytestconfig.cache, f"redis-py-{OLDEST}"
    folder = cache.mkdir(name) if cache is not None else tmp_path_factory.mktemp(name)
    if not (folder / "redis").exists():
        words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder)]
        done = subprocess.run([sys.executable, *words, f"redis=={OLDEST}"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder


def contracts_pass(release: str, first_on_the_path: Path, folder: Path, valkey_url: str) -> str:
    test = folder / "test_contracts.py"
    test.write_text(textwrap.dedent(CONTRACTS))
    path = os.pathsep.join([str(first_on_the_path), str(ROOT / "src")])
    named = {"VALKEY_URL": valkey_url, "REDIS_PY": release, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment = {**os.environ, "PYTHONPATH": path, **named}
    words = ["-m", "pytest", "-q", "-rP", "-p", "no:cacheprovider", "-c", os.devnull, "-W", "error", str(test)]
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_the_oldest_release_passes_the_contracts(oldest: Path, tmp_path: Path, valkey_url: str) -> None:
    said = contracts_pass(OLDEST, oldest, tmp_path, valkey_url)
    assert f"redis-py {OLDEST}" in said


def test_the_newest_release_is_the_one_that_all_other_tests_run_on() -> None:
    assert int(redis.__version__.split(".")[0]) >= 8, "the development environment installs the newest release"
