"""Check that releases can read each other's events: `python -m sdpatterns.messaging.schema check app.events:schema`.

`app.events:schema` names your `EventSchema` as servers name an application: a module that can be imported, and its
attribute. Commit the directory of golden files, and run the check in CI.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sdpatterns.core.command import columns, named
from sdpatterns.errors import CodecError
from sdpatterns.messaging.schema.golden import accept, golden_files, refusals
from sdpatterns.messaging.schema.schema import EventSchema

__all__ = ["main"]


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; 0 where the schema is compatible, 1 where it is refused, 2 for a wrong command."""
    given = _parser().parse_args(words)
    try:
        schema = named(given.schema, EventSchema, "app.events:schema")
    except (ImportError, AttributeError, TypeError, ValueError) as cause:
        print(f"{given.schema}: {cause}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 2
    try:
        code, lines = _checked(schema, given.golden, write=given.write)
    except CodecError as cause:
        print(cause, file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    print("\n".join(lines))  # noqa: T201 - a command's answer
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sdpatterns.messaging.schema", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    told = "compare the event types with the golden files"
    check = commands.add_parser("check", help=told, description=told)
    check.add_argument("schema", help="the EventSchema, as module:attribute")
    check.add_argument("--golden", type=Path, required=True, metavar="DIR", help="the directory of the golden files")
    check.add_argument("--write", action="store_true", help="accept the event types as they are now")
    return parser


def _checked(schema: EventSchema, directory: Path, *, write: bool) -> tuple[int, list[str]]:
    found = refusals(schema, golden_files(directory))
    table = columns([("event", "version", "direction", "field", "what"), *found]) if found else []
    if write:
        changed = accept(schema, directory)
        return 0, [*table, *([""] if table and changed else []), *(changed or ["nothing to accept"])]
    if found:
        return 1, [*table, "", f"refused: {len(found)}"]
    return 0, [f"compatible: {len(schema.types)} event types"]


if __name__ == "__main__":
    sys.exit(main())
