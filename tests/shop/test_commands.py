"""The commands of a first visitor: what they print can be copied, and they find the shop that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shop.__main__ import main
from shop.stage.address import DEFAULT_URL, find, in_words
from shop.stage.scenarios.scenario import names

from .running import running

ROOT = Path(__file__).parents[2]


def test_the_shop_prints_its_ports_and_scenario_commands_that_find_it(data_dir: Path) -> None:
    with running(data_dir) as shop:
        port = int(shop.url.rpartition(":")[2])
        assert find(data_dir) == shop.url
        assert shop.process.stdout is not None
        out = "".join(shop.process.stdout.readline() for _ in range(5 + len(names())))
        shop.stop()
    assert find(data_dir) == DEFAULT_URL, "a shop that has ended is not found any more"
    assert "Ports in use:" in out
    assert str(port) in out
    for name in names():
        assert f"python -m shop scenario {name} --url {shop.url}" in out


def test_an_address_file_that_is_broken_means_the_default(data_dir: Path) -> None:
    data_dir.mkdir()
    for broken in ("", "{", "[]", '{"url": 7}', '{"other": 1}'):
        (data_dir / "address.json").write_text(broken)
        assert find(data_dir) == DEFAULT_URL


def test_ports_are_written_as_ranges() -> None:
    assert in_words([9400, 9402, 9401, 9405]) == "9400-9402, 9405"
    assert in_words([9400]) == "9400"


def test_a_scenario_takes_a_port(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "double-click", "--port", "9"]) == 1
    assert "no shop answers at http://127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["scenario", "--help"]])
def test_help_names_the_commands_and_the_scenarios(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "scenario" in said
    for name in names():
        assert name in said


def test_without_arguments_the_noxfile_lists_its_commands_and_starts_nothing() -> None:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "noxfile.py")], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0
    assert "python3 noxfile.py shop " in ended.stdout
    assert "python3 noxfile.py tests " in ended.stdout
    assert ended.stderr == ""
