"""The pages whose Python is a test module: each is run as such, by plain pytest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "least"),
    [
        ("testing.md", 40),
        ("how-to/virtual-clock.md", 3),
        ("how-to/simulate.md", 2),
        # The contracts on a store that is written with each step; etcd and NATS pass the same ones with each change.
        pytest.param("how-to/write-a-backend.md", 90, marks=pytest.mark.nightly),
    ],
)
def test_the_page_passes(pytester: pytest.Pytester, only_named_plugins: None, page: str, least: int) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    pytester.makepyfile("\n\n".join(blocks))
    outcomes = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "sdpatterns", "-q").parseoutcomes()
    # A contract leaves out what a queue does not declare.
    outcomes.pop("skipped", None)
    assert outcomes.pop("passed") >= least
    assert outcomes == {}
