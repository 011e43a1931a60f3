"""`python -m sdpatterns` tells what is installed."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata

import pytest

import sdpatterns
from sdpatterns import __main__ as report


def test_it_tells_the_version_the_extras_and_where_the_documentation_is() -> None:
    done = subprocess.run([sys.executable, "-m", "sdpatterns"], check=True, capture_output=True, text=True)
    assert f"sdpatterns     {sdpatterns.__version__}\n" in done.stdout
    assert platform.python_version() in done.stdout
    assert "https://sdpatterns.readthedocs.io/" in done.stdout
    assert f"redis {metadata.version('redis')}" in done.stdout
    assert done.stderr == ""


def test_an_extra_that_is_missing_comes_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = [
        "anyio>=4.5",
        "nowhere-at-all>=1; extra == 'odd'",
        "anyio>=4.5 ; sys_platform != 'win32' and extra == \"odd\"",
        "sdpatterns[odd]; extra == 'all'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda _name: needed)
    report.main()
    told = capsys.readouterr().out
    assert f'  odd  anyio {metadata.version("anyio")}, not installed: pip install "sdpatterns[odd]"\n' in told
    assert "all" not in told.partition("extras")[2].replace("installed", "").replace("install", "")


def test_a_tree_that_is_not_installed_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", nothing)
    report.main()
    assert "because this is not an installed package" in capsys.readouterr().out
