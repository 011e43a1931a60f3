"""Judges that are programs of other people: checkov, yamllint, hadolint, check-jsonschema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from yamllint import linter
from yamllint.config import YamlLintConfig

ROOT = Path(__file__).parents[2]
_HERE = Path(__file__).parent
CHECKOV = ROOT / ".nox" / "checkov" / ("Scripts" if os.name == "nt" else "bin") / "checkov"
"""In an environment of its own, because it wants other versions of what the other checks use."""
_JUDGES_S = 200


class Fault(NamedTuple):
    """What checkov finds wrong, and in which file."""

    path: str
    check: str
    resource: str


def checkov(folder: Path, config: Path = _HERE / "checkov.yaml") -> list[Fault]:
    """What checkov finds wrong in the files of a folder; it must have checked something."""
    words = ("--directory", str(folder), "--config-file", str(config), "--output", "json")
    command = [str(CHECKOV), *words]
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_JUDGES_S, check=False, env=_alone()
    )
    told = json.loads(ended.stdout) if ended.stdout.strip() else {}
    reports = told if isinstance(told, list) else [told]
    if not all(report.get("summary", {}).get("passed") for report in reports):
        raise OSError(f"checkov checked nothing: {ended.stdout[:500]}{ended.stderr[:500]}")
    return [
        Fault(found["file_path"].lstrip("/"), found["check_id"], found["resource"])
        for report in reports
        for found in report["results"]["failed_checks"]
    ]


def _alone() -> dict[str, str]:
    """The environment without what leads a Python to our own packages."""
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}


def yamllint(texts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What yamllint finds wrong in named texts."""
    config = YamlLintConfig((_HERE / "yamllint.yaml").read_text(encoding="utf-8"))
    for name, text in texts:
        yield from (f"{name}:{found.line}: {found.message}" for found in linter.run(text, config))


def compose_faults(path: Path) -> list[str]:
    """What the schema of the Compose specification finds wrong in a file."""
    return by_builtin_schema("vendor.compose-spec", path)


def by_builtin_schema(name: str, *paths: Path) -> list[str]:
    """What a schema that check-jsonschema brings finds wrong in some files, all at once: its start takes seconds."""
    program = Path(sys.executable).with_name("check-jsonschema")
    words = (str(program), "--builtin-schema", name, "--output-format", "json", *map(str, paths))
    ended = subprocess.run(words, capture_output=True, text=True, timeout=_JUDGES_S, check=False)
    found = json.loads(ended.stdout)
    return [
        f"{each.get('path', '')}: {each['message']}"
        for each in (*found.get("errors", ()), *found.get("parse_errors", ()))
    ]


def hadolint(text: str) -> list[str]:
    """What hadolint finds wrong in a Containerfile."""
    program = Path(sys.executable).with_name("hadolint")
    words = (str(program), "--format", "json", "--failure-threshold", "style", "-")
    ended = subprocess.run(words, input=text, capture_output=True, text=True, timeout=_JUDGES_S, check=False)
    if ended.stderr or not ended.stdout:
        raise OSError(f"hadolint did not run: {ended.stderr}")
    return [f"{found['line']}: {found['code']} {found['message']}" for found in json.loads(ended.stdout)]
