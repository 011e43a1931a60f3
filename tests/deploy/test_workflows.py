"""The workflows: right for GitHub, careful in their scripts, and no job may more than it does."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.checks.workflows import WORKFLOWS, faults, shellcheck
from deploy.gitops.promote import ENVIRONMENTS, digest_in, main

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


def workflow(name: str) -> Any:
    return yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))


def test_nothing_is_wrong_with_the_workflows() -> None:
    assert faults(*sorted(WORKFLOWS.glob("*.yml"))) == []


@pytest.mark.nightly
def test_an_unknown_key_and_a_careless_script_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.yml"
    text = (WORKFLOWS / "image.yml").read_text(encoding="utf-8")
    text = text.replace("timeout-minutes: 20", "timeout-minuts: 20")
    path.write_text(text.replace('cosign sign --yes "$NAMED"', "cosign sign --yes $NAMED"), encoding="utf-8")
    found = faults(path)
    assert any("timeout-minuts" in fault for fault in found)
    assert any("SC2086" in fault for fault in found)
    assert shellcheck('cd "$1" || exit\nls') == []


def test_every_action_is_one_commit_and_the_same_in_all_workflows() -> None:
    pins: dict[str, set[str]] = {}
    for path in WORKFLOWS.glob("*.yml"):
        for action, pin in re.findall(r"uses: ([\w/-]+)@(.+)", path.read_text(encoding="utf-8")):
            pins.setdefault(action, set()).add(pin)
    assert len(pins) >= 6
    assert {action: pin for action, pin in pins.items() if len(pin) != 1} == {}
    assert [pin for (pin,) in pins.values() if not re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", pin)] == []


def test_only_the_job_that_publishes_may_sign_and_it_builds_nothing() -> None:
    document = workflow("image.yml")
    assert document["permissions"] == {}
    jobs = document["jobs"]
    assert jobs["build"]["permissions"] == {"contents": "read"}
    assert jobs["publish"]["permissions"] == {"packages": "write", "id-token": "write", "attestations": "write"}
    assert jobs["propose"]["permissions"] == {"contents": "write", "pull-requests": "write"}
    assert not any("checkout" in step.get("uses", "") for step in jobs["publish"]["steps"])
    script = "\n".join(step.get("run", "") for step in jobs["publish"]["steps"])
    assert "cosign sign --yes" in script
    assert "deploy.image" not in script


@pytest.fixture
def environments(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ENVIRONMENTS, tmp_path / "environments"))


def values(environments: Path, name: str) -> str:
    return (environments / name / "values.yaml").read_text(encoding="utf-8")


def test_a_digest_goes_to_dev_and_from_there_to_the_next_and_nothing_else_changes(environments: Path) -> None:
    before = {name: values(environments, name) for name in ("dev", "eu", "us")}
    assert main(["dev", "--digest", DIGEST], environments) == 0
    assert main(["eu", "--of", "dev"], environments) == 0
    for name in ("dev", "eu"):
        assert digest_in(values(environments, name)) == DIGEST
        assert values(environments, name) == before[name].replace(digest_in(before[name]), DIGEST)
    assert values(environments, "us") == before["us"]


@pytest.mark.parametrize("digest", ["latest", "sha256:12", f"sha256:{'0' * 64}", f"{DIGEST}\nx: 1"])
def test_what_is_no_digest_is_refused_and_changes_nothing(
    environments: Path, digest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = values(environments, "dev")
    assert main(["dev", "--digest", digest], environments) == 1
    assert "is no digest" in capsys.readouterr().err
    assert values(environments, "dev") == before
