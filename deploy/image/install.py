"""Run inside the build: installs the wheels beside this file into a folder, and compiles them.

pip is itself one of the wheels, so the base image needs none. What is written is the same each time.
"""

from __future__ import annotations

import compileall
import runpy
import shutil
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

WHEELS = Path(__file__).parent


def installed(place: Path) -> None:
    """All wheels but pip, without a network, and without the programs that some of them have."""
    (pip,) = WHEELS.glob("pip-*.whl")
    sys.path.insert(0, str(pip))
    listed = ["--require-hashes", "--requirement", str(WHEELS / "wheels.txt")]
    sys.argv = [
        "pip",
        "install",
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--no-cache-dir",
        "--root-user-action=ignore",
        "--target",
        str(place),
        *listed,
    ]
    try:
        runpy.run_module("pip", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code:
            raise
    shutil.rmtree(place / "bin", ignore_errors=True)
    # By the content of the source: by its time a file would be compiled again, or differ from build to build.
    compileall.compile_dir(place, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


if __name__ == "__main__":
    installed(Path(sys.argv[1]))
