"""`python -m sdpatterns.messaging.schema check`: what it refuses, what it prints, and what it writes."""

from __future__ import annotations

import dataclasses
import decimal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic
import pytest

from sdpatterns.messaging.schema import EventSchema, EventType
from sdpatterns.messaging.schema.__main__ import main


@dataclasses.dataclass
class Placed:
    order: str
    amount: decimal.Decimal


@dataclasses.dataclass
class PlacedIn:
    order: str
    amount: decimal.Decimal
    currency: str


def in_euros(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "currency": "EUR"}


class Check:
    """Runs the command for a schema, always on one directory."""

    def __init__(self, capsys: pytest.CaptureFixture[str], directory: Path) -> None:
        self._capsys, self.directory = capsys, directory

    def __call__(self, *types: EventType, write: bool = False) -> tuple[int, list[str]]:
        """The exit code, and the lines with one space between words."""
        module = ModuleType("app_of_test_check")
        module.schema = EventSchema(*types)  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        words = ["check", "app_of_test_check:schema", "--golden", str(self.directory)]
        code = main([*words, *(["--write"] if write else [])])
        said = self._capsys.readouterr()
        return code, [" ".join(line.split()) for line in (said.out + said.err).splitlines()]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    yield Check(capsys, tmp_path / "golden")
    sys.modules.pop("app_of_test_check", None)


def test_a_new_type_is_accepted_by_writing_it_and_then_compatible(check: Check) -> None:
    assert check(EventType("placed", Placed)) == (
        1,
        ["event version direction field what", "placed 1 new not accepted yet: run with --write", "", "refused: 1"],
    )
    assert check(EventType("placed", Placed), write=True)[1][-1] == "wrote placed.v1.json"
    assert check(EventType("placed", Placed)) == (0, ["compatible: 1 event types"])
    assert check(EventType("placed", Placed), write=True) == (0, ["nothing to accept"])


def test_a_changed_version_is_refused_field_by_field_until_it_is_accepted(check: Check) -> None:
    check(EventType("placed", Placed), write=True)
    changed = EventType("placed", dataclasses.make_dataclass("Placed", [("order", int), ("currency", str)]))
    code, lines = check(changed)
    assert code == 1
    assert lines[1:4] == [
        "placed 1 backward currency added without a default",
        "placed 1 both order retyped: string before, integer now",
        "placed 1 forward amount removed: earlier readers need it",
    ]
    assert check(changed, write=True)[0] == 0
    assert check(changed)[0] == 0


def test_a_new_version_needs_an_upcaster_that_makes_what_the_class_takes(check: Check) -> None:
    check(EventType("placed", Placed), write=True)
    wrong = EventType("placed", PlacedIn, version=2, upcasters={1: lambda data: data})
    assert "its sample cannot be read" in check(wrong)[1][1]
    fine = EventType("placed", PlacedIn, version=2, upcasters={1: in_euros})
    assert check(fine)[1][1:2] == ["placed 2 new not accepted yet: run with --write"]
    check(fine, write=True)
    assert sorted(it.name for it in check.directory.iterdir()) == ["placed.v1.json", "placed.v2.json"]
    assert check(fine)[0] == 0


def test_a_removed_version_a_removed_type_and_a_missing_upcaster_are_refused(check: Check) -> None:
    both = EventType("placed", PlacedIn, version=2, upcasters={1: in_euros})
    check(EventType("placed", Placed), write=True)
    check(both, write=True)
    missing = EventType("placed", PlacedIn, version=2, since=2)
    assert check(missing)[1][1] == "placed 1 backward upcaster missing: versions from 2 on are read"
    assert check(EventType("placed", Placed))[1][1] == "placed 2 backward removed: the newest version is 1"
    gone = EventType("paid", Placed)
    assert check(gone)[1][1] == "placed 1 backward removed: stored events of this type cannot be read"
    assert check(gone, write=True)[1][-3:] == ["removed placed.v1.json", "removed placed.v2.json", "wrote paid.v1.json"]


def test_a_renamed_type_still_reads_what_its_earlier_name_wrote(check: Check) -> None:
    check(EventType("Placed", Placed), write=True)
    renamed = EventType("order/placed", Placed, earlier_names=["Placed"])
    assert check(renamed)[1][1] == "order/placed 1 new not accepted yet: run with --write"
    check(renamed, write=True)
    assert sorted(it.name for it in check.directory.iterdir()) == ["Placed.v1.json", "order%2Fplaced.v1.json"]
    assert check(renamed)[0] == 0


class Coded(pydantic.BaseModel):
    code: str = pydantic.Field(pattern="[0-9]{4}")


def test_a_sample_that_cannot_be_made_up_is_asked_for(check: Check) -> None:
    code, lines = check(EventType("coded", Coded), write=True)
    assert code == 1
    assert lines[-1].endswith("give EventType('coded', ...) a sample")
    assert check(EventType("coded", Coded, sample=Coded(code="0042")), write=True)[0] == 0


def test_a_wrong_command_says_why(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    for name, told in (("app", "name it as module:attribute"), ("sys:path", "that is a list and no EventSchema")):
        assert main(["check", name, "--golden", str(check.directory)]) == 2
        assert told in capsys.readouterr().err
    check.directory.mkdir()
    (check.directory / "odd.json").write_text("{}")
    assert check(EventType("placed", Placed)) == (1, ["odd.json is no golden file: KeyError('sample')"])
