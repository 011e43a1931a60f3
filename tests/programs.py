"""Programs of Debian that some tests run. CI installs them; elsewhere a test is left out where one is missing."""

from __future__ import annotations

import os
import shutil

import pytest


def needed(program: str, package: str) -> str:
    """The path of a program. Where it is missing the test fails in CI, and is skipped on other machines."""
    found = shutil.which(program)
    if found is None:
        missing = f"{program} is missing: apt-get install --no-install-recommends {package}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found
