"""What goes into the image, gathered in a folder, and the build of it by podman, buildah or Docker."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
KEPT_MAX = 4
"""How many folders of wheels, and how many SBOMs, are kept: for the shop and its stores, and two versions of Python."""
IMAGE = "localhost/sdpatterns-shop"
REQUIREMENTS = HERE / "requirements.txt"
"""What the image has besides the library and the shop, each file by its digest."""


def run(*words: str, **options: object) -> str:
    """The output of a program; CalledProcessError where it fails, with what it said on the terminal."""
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **options).stdout.strip()  # type: ignore[call-overload,no-any-return] # `options` are those of `run`


def source_date() -> int:
    """The time that all files of the image have: that of the last commit, unless SOURCE_DATE_EPOCH says another."""
    told = os.environ.get("SOURCE_DATE_EPOCH")
    return int(told or run("git", "-C", str(ROOT), "log", "-1", "--format=%ct"))


def fetch(requirements: Path, wheels: Path, python: str) -> None:
    """The wheels that a file of requirements names, for a Python of this version, into a folder.

    They are kept beside the checkout: the file names each by its digest, so what was fetched once is what is wanted.
    """
    kept = ROOT / ".cache" / "image" / f"{_digest(requirements)[:16]}-{python}"
    if not kept.exists():
        draft = kept.with_name(f"{kept.name}.{os.getpid()}")
        words = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        only = ["--only-binary=:all:", "--python-version", python, "--dest", str(draft)]
        with NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(needed(requirements.read_text(encoding="utf-8"), python))
            file.flush()
            run(*words, *only, "--require-hashes", "--requirement", file.name)
        draft.replace(kept)
    used(kept, "*-*.*.*")
    shutil.copytree(kept, wheels)


def used(kept: Path, pattern: str) -> None:
    """Note that something kept beside the checkout was used, and remove what was not used for longest."""
    kept.touch()
    for old in sorted(kept.parent.glob(pattern), key=lambda path: path.stat().st_mtime)[:-KEPT_MAX]:
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)


def needed(requirements: str, python: str) -> str:
    """The requirements that hold on Linux for a Python of this version, without their conditions.

    pip judges conditions by the Python that it runs on, whatever version it is told to fetch for.
    """
    environment = {"python_full_version": python, "python_version": python.rpartition(".")[0], "sys_platform": "linux"}
    found = []
    for entry in re.findall(r"^\w.*(?:\n +--hash.*)+", requirements, re.MULTILINE):
        head, _, hashes = entry.partition(" \\\n")
        wanted = Requirement(head)
        if wanted.marker is None or wanted.marker.evaluate(environment):
            found.append(f"{wanted.name}{wanted.specifier} \\\n{hashes}\n")
    return "".join(found)


def list_wheels(wheels: Path) -> None:
    """A file for pip, which names all wheels of a folder but pip itself, by their digests."""
    listed = sorted(wheel for wheel in wheels.glob("*.whl") if not wheel.name.startswith("pip-"))
    lines = (f"/wheels/{wheel.name} --hash=sha256:{_digest(wheel)}\n" for wheel in listed)
    (wheels / "wheels.txt").write_text("".join(lines))


def gather(place: Path, python: str) -> None:
    """All that the Containerfile copies, for a Python of this version."""
    wheels = place / "wheels"
    fetch(REQUIREMENTS, wheels, python)
    build_words = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(ROOT))
    run(*build_words, env=dated(), stderr=subprocess.DEVNULL)
    list_wheels(wheels)
    shutil.copytree(ROOT / "examples" / "shop", place / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (HERE / "install.py", HERE / "Containerfile", ROOT / "LICENSE"):
        shutil.copy(name, place / name.name)
    write_sbom(place / "sbom.cdx.json")


def dated() -> dict[str, str]:
    """The environment of programs that write files with a time in them."""
    return {**os.environ, "SOURCE_DATE_EPOCH": str(source_date())}


def write_sbom(path: Path) -> None:
    """The parts of the image that come from elsewhere, with their digests, in CycloneDX; kept like the wheels."""
    project = ROOT / "pyproject.toml"
    kept = ROOT / ".cache" / "image" / f"sbom-{_digest(REQUIREMENTS)[:16]}-{_digest(project)[:16]}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_suffix(f".{os.getpid()}")
        told = ["requirements", str(REQUIREMENTS), "--pyproject", str(project), "--output-reproducible"]
        run(sys.executable, "-W", "ignore", "-m", "cyclonedx_py", *told, "--of", "JSON", "-o", str(draft))
        draft.replace(kept)
    used(kept, "sbom-*.json")
    shutil.copy(kept, path)


def digest_of(context: Path, *more: str) -> str:
    """A digest of all that an image is made from."""
    found = hashlib.sha256("\0".join(more).encode())
    for path in sorted(path for path in context.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(context)}\0{_digest(path)}\0".encode())
    return found.hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build(engine: str, context: Path, *, base: str, tag: str, version: str) -> str:
    """Build the image from a folder; gives its id."""
    epoch = source_date()
    created = datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z")
    told = {
        "BASE": base,
        "VERSION": version,
        "REVISION": revision(),
        "CREATED": created,
        "SOURCE_DATE_EPOCH": str(epoch),
    }
    words = [word for name, value in told.items() for word in ("--build-arg", f"{name}={value}")]
    words += ["--tag", tag]
    if Path(engine).name != "docker":
        # The format of Docker keeps the health check; no layer has the time of the build.
        words += ["--format", "docker", "--timestamp", str(epoch), "--network", "none", "--quiet", "--layers=false"]
    run(engine, "build", *words, "--file", str(context / "Containerfile"), str(context))
    return run(engine, "image", "inspect", "--format", "{{.Id}}", tag)


def layers(image: str) -> list[str]:
    """The digests of the layers of an image of podman, each of its files and their times."""
    found: list[str] = json.loads(run("podman", "image", "inspect", "--format", "{{json .RootFS.Layers}}", image))
    return found


def revision() -> str:
    """The commit that the image is made from."""
    return run("git", "-C", str(ROOT), "rev-parse", "HEAD")


def python_of(engine: str, base: str) -> str:
    """The version of Python in a base image, such as 3.11.2."""
    asked = "import platform; print(platform.python_version())"
    return run(engine, "run", "--rm", "--network", "none", "--entrypoint", "python3", base, "-c", asked)
