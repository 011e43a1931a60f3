"""`python -m sdpatterns.backends.sqlalchemy URL`: make the tables in a database, or bring older ones up to date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from sdpatterns.backends.sqlalchemy.backend import SQLBackend
from sdpatterns.core.runtime import finish
from sdpatterns.errors import SdpatternsError

__all__ = ["main"]


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 1 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m sdpatterns.backends.sqlalchemy",
        description="Make the tables of sdpatterns in a database, or bring older ones up to date.",
    )
    parser.add_argument("url", help="the database's URL, such as postgresql://user@host/name or sqlite:///file.db")
    try:
        url = make_url(parser.parse_args(words).url)
        # The tables are the same for all drivers; the one that blocks needs no loop.
        url = url.set(drivername=url.get_backend_name())
        with SQLBackend.from_url(url, blocking=True) as backend:
            found, now = finish(backend.migrate())
    except (ArgumentError, ImportError, ValueError, SdpatternsError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    print(f"{backend.shown}: {_told(found, now)}")  # noqa: T201 - a command's answer
    return 0


def _told(found: int | None, now: int) -> str:
    if found is None:
        return f"the tables are there now, schema version {now}"
    if found < now:
        return f"migrated from schema version {found} to {now}"
    return f"nothing to do, schema version {now}"


if __name__ == "__main__":
    sys.exit(main())
