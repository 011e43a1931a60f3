"""`python -m deploy.checks FOLDER`: writes each variant of the chart there as files, for judges that read files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.checks.rendering import VARIANTS, manifests


def write(folder: Path) -> None:
    """A folder for each variant, a file for each template."""
    for name, variant in VARIANTS.items():
        for template, text in manifests(variant).items():
            path = folder / name.replace(", ", "-").replace(" ", "-") / template.removeprefix("templates/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def main(words: Sequence[str]) -> int:
    """Write the files; gives the exit code."""
    if len(words) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    write(Path(words[0]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
