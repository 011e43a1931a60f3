"""`python -m deploy.image`: builds the shop's image, and writes its SBOM beside it."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.image.build import IMAGE, build, gather, python_of
from deploy.image.host_base import import_base


def main(argv: Sequence[str] | None = None) -> int:
    """Build as the words say; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.image", description=__doc__)
    parser.add_argument("--engine", default="podman", help="podman or docker (default: podman)")
    parser.add_argument("--base", help="an image with Python 3.11 or newer, such as docker.io/library/python:3.13-slim")
    parser.add_argument(
        "--host-base", action="store_true", help="make the base of this Debian's own Python: no registry"
    )
    parser.add_argument("--tag", default="dev", help="the tag, and the version in the labels (default: dev)")
    parser.add_argument("--sbom", type=Path, help="where to write the SBOM as well")
    told = parser.parse_args(argv)
    if bool(told.base) == told.host_base:
        parser.error("say --base IMAGE or --host-base")
    began_s = time.monotonic()
    base = import_base(told.engine) if told.host_base else told.base
    with tempfile.TemporaryDirectory(prefix="shop-image-") as place:
        context = Path(place) / "context"
        gather(context, python_of(told.engine, base))
        made = build(told.engine, context, base=base, tag=f"{IMAGE}:{told.tag}", version=told.tag)
        if told.sbom:
            shutil.copy(context / "sbom.cdx.json", told.sbom)
    print(f"{IMAGE}:{told.tag} {made} in {time.monotonic() - began_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
