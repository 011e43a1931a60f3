"""The workflows of GitHub Actions: their schema, and their scripts by shellcheck. zizmor judges what is dangerous."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.checks.npm import ROOT
from deploy.checks.programs import by_builtin_schema

WORKFLOWS = ROOT / ".github" / "workflows"
_JUDGES_S = 60


def scripts(workflow: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The scripts of a workflow, by their job and step."""
    for name, job in workflow["jobs"].items():
        for number, step in enumerate(job.get("steps", ())):
            if "run" in step:
                yield f"{name}, {step.get('name', number)}", step["run"]


def faults(*paths: Path) -> list[str]:
    """What is wrong with some workflows."""
    found = by_builtin_schema("vendor.github-workflows", *paths)
    for path in paths:
        for where, script in scripts(yaml.safe_load(path.read_text(encoding="utf-8"))):
            found += [f"{path.name}, {where}: {said}" for said in shellcheck(script)]
    return found


def shellcheck(script: str) -> list[str]:
    """What shellcheck finds wrong with a script that GitHub runs, which is `bash -e`."""
    program = Path(sys.executable).with_name("shellcheck")
    words = (str(program), "--shell=bash", "--format=json", "-")
    text = f"#!/usr/bin/env bash\nset -e\n{script}"
    ended = subprocess.run(words, input=text, capture_output=True, text=True, timeout=_JUDGES_S, check=False)
    return [f"SC{each['code']} in line {each['line'] - 2}: {each['message']}" for each in json.loads(ended.stdout)]
