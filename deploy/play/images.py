"""The images that are played: the shop in two versions, and its stores."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.image.build import HERE as IMAGE_PARTS
from deploy.image.build import IMAGE, build, digest_of, fetch, gather, layers, list_wheels, python_of, run, source_date
from deploy.image.host_base import LABEL, import_base

STORES = "localhost/sdpatterns-stores:dev"
PARTS = Path(__file__).parent / "stores"
_USERS = "root:x:0:0:root:/:/sbin/nologin\nstore:x:999:999:store:/data:/sbin/nologin\n"


def build_images(place: Path, versions: tuple[str, str]) -> dict[str, float]:
    """All images, on a base of this machine's own Python; gives their sizes in MB by their names."""
    base = import_base("podman")
    python = python_of("podman", base)
    gather(place / "shop", python)
    first, second = (f"{IMAGE}:{version}" for version in versions)
    _built(place / "shop", base, first, versions[0])
    _next_version(first, second, versions[1])
    _stores(place / "stores", base, python)
    run("podman", "image", "prune", "--force", "--filter", f"label={LABEL}")
    return {
        name: int(run("podman", "image", "inspect", "--format", "{{.Size}}", name)) / 1e6 for name in (first, STORES)
    }


def _next_version(first: str, second: str, version: str) -> None:
    """A second image of the same shop: its label is another one, and so is its digest."""
    text = f'FROM {first}\nLABEL org.opencontainers.image.version="{version}"\n'
    words = ["podman", "build", "--quiet", "--layers=false", "--format", "docker"]
    words += ["--timestamp", str(source_date()), "--tag", second]
    subprocess.run([*words, "-"], input=text, text=True, check=True, stdout=subprocess.DEVNULL)


def _stores(context: Path, base: str, python: str) -> None:
    fetch(PARTS / "requirements.txt", context / "wheels", python)
    list_wheels(context / "wheels")
    (context / "empty").mkdir()
    (context / "passwd").write_text(_USERS)
    # initdb starts its helpers by a shell, which the base does not have.
    shutil.copy(Path("/bin/sh").resolve(), context / "sh")
    for part in (IMAGE_PARTS / "install.py", PARTS / "store.py", PARTS / "valkey-server", PARTS / "Containerfile"):
        shutil.copy(part, context / part.name)
    _built(context, base, STORES, "dev")


def _built(context: Path, base: str, tag: str, version: str) -> None:
    """Build an image, unless there is one that was made from just the same."""
    repository, _, _ = tag.partition(":")
    kept = f"{repository}:from-{digest_of(context, json.dumps(layers(base)), version)[:16]}"
    if subprocess.run(["podman", "image", "exists", kept], check=False).returncode:
        build("podman", context, base=base, tag=kept, version=version)
    run("podman", "tag", kept, tag)
    names = run("podman", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    older = {name for name in names if name.startswith(f"{repository}:from-")} - {kept}
    if older:  # one that another run still uses stays
        subprocess.run(["podman", "image", "rm", *older], check=False, capture_output=True)


def values(version: str, replicas: Mapping[str, int]) -> dict[str, Any]:
    """What is laid over the chart's values for one node."""
    repository, _, _ = f"{IMAGE}:{version}".partition(":")
    return {
        "image": {"repository": repository, "tag": version},
        "settings": {"drainDelaySeconds": 2},
        "lifecycle": {"preStopSeconds": 1},
        "stores": {"postgres": {"image": STORES}, "valkey": {"image": STORES}},
        "services": {name: {"replicas": number} for name, number in replicas.items()},
    }
