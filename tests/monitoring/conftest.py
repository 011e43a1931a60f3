"""Debian's Prometheus and Alertmanager, and the rules as they are committed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.monitoring.generate import RULES
from tests.programs import needed

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))  # the ports are those of the shop's registry


@pytest.fixture
def promtool() -> str:
    return needed("promtool", "prometheus")


@pytest.fixture(scope="session")
def committed() -> dict[str, Any]:
    """The rule file."""
    document: dict[str, Any] = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return document
