"""The testing page is one test module: it is run as such."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def test_the_page_passes(pytester: pytest.Pytester) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    pytester.makepyfile("\n\n".join(blocks))
    outcomes = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-q").parseoutcomes()
    assert outcomes.pop("passed") >= 40
    assert outcomes == {}
