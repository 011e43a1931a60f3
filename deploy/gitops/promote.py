"""Writes the digest of an image into the values of an environment; needs nothing but Python.

python3 -m deploy.gitops.promote dev --digest sha256:...    what the workflow of images does
python3 -m deploy.gitops.promote eu --of dev                the next environment runs what that one runs
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ENVIRONMENTS = Path(__file__).parent / "environments"
_LINE = re.compile(r"^(  digest: )(\S+)$", re.MULTILINE)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_NONE = f"sha256:{'0' * 64}"


class Refused(Exception):
    """What is wrong with the words or with the files."""


def digest_in(text: str) -> str:
    """The digest that the values of an environment have."""
    found = _LINE.findall(text)
    if len(found) != 1:
        raise Refused(f"the values have {len(found)} lines with a digest, one is needed")
    return str(found[0][1])


def promoted(text: str, digest: str) -> str:
    """The values with another digest, and all else as it was."""
    if not _DIGEST.match(digest) or digest == _NONE:
        raise Refused(f"{digest!r} is no digest of an image")
    digest_in(text)
    return _LINE.sub(rf"\g<1>{digest}", text)


def main(argv: Sequence[str] | None = None, environments: Path = ENVIRONMENTS) -> int:
    """Promote as the words say; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.gitops.promote", description=__doc__)
    names = sorted(path.name for path in environments.iterdir())
    parser.add_argument("environment", choices=names)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--digest", help="sha256:...")
    source.add_argument("--of", choices=names, help="the environment whose image it is to run")
    told = parser.parse_args(argv)
    place = environments / told.environment / "values.yaml"
    try:
        digest = told.digest or digest_in((environments / told.of / "values.yaml").read_text(encoding="utf-8"))
        text = promoted(place.read_text(encoding="utf-8"), digest)
    except Refused as refused:
        print(f"promote: {refused}", file=sys.stderr)
        return 1
    place.write_text(text, encoding="utf-8")
    print(f"{told.environment} runs {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
