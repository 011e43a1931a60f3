"""`python -m sdpatterns.observability.slo`, as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sdpatterns.observability.slo.__main__ import main

from .test_decision import FILE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "slo.yml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_it_writes_the_rules(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rules.yml"
    assert main([str(file), "--out", str(out), "--runbooks", "https://shop.example"]) == 0
    assert main([str(file), "--runbooks", "https://shop.example"]) == 0
    assert capsys.readouterr().out == out.read_text(encoding="utf-8")
    record, alert = yaml.safe_load(out.read_text(encoding="utf-8"))["groups"]
    assert (record["name"], alert["name"]) == ("slo-record-shop-checkout", "slo-alert-shop-checkout")
    assert "[5m]" in record["rules"][0]["expr"]
    assert alert["rules"][2]["for"] == "10m"


def test_a_fast_clock_keeps_the_names(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(file), "--shrink", "60"]) == 0
    record, alert = yaml.safe_load(capsys.readouterr().out)["groups"]
    assert record["rules"][0]["record"] == "slo:sli_events:rate5m"
    assert "[5s]" in record["rules"][0]["expr"]
    assert alert["rules"][2]["for"] == "10s"


def test_a_wrong_file_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("version: 2\n", encoding="utf-8")
    assert main([str(file)]) == 1
    assert capsys.readouterr().err == f"{file}: version must be a string, got int 2\n"
    file.unlink()
    assert main([str(file)]) == 1


def test_a_wrong_word_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(file), "--shrink", "0.1"])
    assert "--shrink: shrink must be at least 1, got 0.1" in capsys.readouterr().err


def test_without_the_library_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['yaml'] = None; import sdpatterns.observability.slo.yaml"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'ImportError: pip install "sdpatterns[slo]"' in done.stderr
