"""Look at runs of sagas, and help those that are parked: `python -m sdpatterns.messaging.saga app.orders:sagas list`.

`app.orders:sagas` names your `Sagas` as servers name an application: a module that can be imported, and its attribute.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from sdpatterns.core.command import columns, named
from sdpatterns.core.runtime import BLOCKING, finish
from sdpatterns.errors import BackendError, ReplayFailed
from sdpatterns.messaging.saga.diagram import as_mermaid
from sdpatterns.messaging.saga.journal import Journal, RunStatus, decoded
from sdpatterns.messaging.saga.recording import events_of
from sdpatterns.messaging.saga.sagas import Sagas
from sdpatterns.ports.log import RecordedEvent

__all__ = ["main"]

_PAGE = 1_000

Lines: TypeAlias = list[str]
"""What a command has to say."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; 0 where it worked, 1 where it did not, 2 for a wrong command."""
    given = _parser().parse_args(words)
    try:
        sagas = named(given.sagas, Sagas, "app.orders:sagas")
    except (ImportError, AttributeError, TypeError, ValueError) as cause:
        print(f"{given.sagas}: {cause}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 2
    command: Callable[[Sagas, Any], Awaitable[Lines]] = given.command
    try:
        work: Any = command(sagas, given)
        lines = finish(work) if sagas.runtime is BLOCKING else asyncio.run(work)
    except (BackendError, LookupError, ReplayFailed) as cause:
        print(cause, file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    print("\n".join(lines))  # noqa: T201 - a command's answer
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sdpatterns.messaging.saga", description=__doc__)
    parser.add_argument("sagas", help="the Sagas, as module:attribute")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(
        name: str, command: Callable[[Sagas, Any], Awaitable[Lines]], told: str, *aliases: str
    ) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=told, description=told, aliases=aliases)
        found.set_defaults(command=command)
        return found

    listed = add("list", _list, "the runs, and how they are")
    listed.add_argument("--status", choices=[status.value for status in RunStatus], help="only those that are so")
    add("show", _show, "what has happened in one run").add_argument("id")
    add("diagram", _diagram, "one run as a Mermaid diagram").add_argument("id")
    add("definition", _definition, "a saga that is a table of steps as a Mermaid diagram").add_argument("saga")
    resume_told = "let parked runs go on: the step that failed is tried again, with all its attempts"
    add("resume", _resume, resume_told, "retry").add_argument("ids", nargs="+")
    add("cancel", _cancel, "let runs stop at their next step, and undo what they have done").add_argument(
        "ids", nargs="+"
    )
    record = add("record", _record, "write the journals of runs to files, for replay")
    record.add_argument("ids", nargs="+")
    record.add_argument("--to", required=True, metavar="DIR", help="the directory of the files")
    replayed = add("replay", _replay, "check that runs with the journals in a directory would go on with this code")
    replayed.add_argument("directory", metavar="DIR")
    return parser


async def _list(sagas: Sagas, given: Any) -> Lines:
    journals: dict[str, Journal] = {}
    position, is_more = (await sagas.log.head()).trimmed, True
    while is_more:
        page = await sagas.log.read_all(position, _PAGE)
        for event in page.events:
            journals.setdefault(event.stream, Journal()).read((event,))
        position, is_more = page.position, page.is_more
    rows = [
        (run_id, "?" if journal.started is None else journal.started.saga, journal.status.value, _where(journal))
        for run_id, journal in journals.items()
        if given.status in {None, journal.status.value}
    ]
    return columns([("id", "saga", "status", "at"), *rows]) if rows else ["no runs"]


def _where(journal: Journal) -> str:
    """The step at which a run is, or why it is parked."""
    if journal.parked is not None:
        return journal.parked[:100]
    if journal.ended is not None:
        return "" if journal.failed is None else journal.failed.reason[:100]
    return ", ".join(name for name, record in journal.steps.items() if not record.is_done and record.error is None)


async def _show(sagas: Sagas, given: Any) -> Lines:
    events = await events_of(sagas, given.id)
    rows = [
        (event.version, f"{(event.recorded_us - events[0].recorded_us) / 1e6:.3f}", *_told(event)) for event in events
    ]
    return columns([("entry", "seconds", "what", "of", "says"), *rows])


def _told(event: RecordedEvent) -> tuple[str, str, str]:
    entry = decoded(event)._asdict()
    of = entry.pop("step", "") or entry.pop("signal", "") or entry.pop("saga", "")
    says = " ".join(f"{name}={value!r}" for name, value in entry.items() if value not in ("", b"", [], {}, None, 0))
    return event.type.replace("-", " "), of, says[:100]


async def _diagram(sagas: Sagas, given: Any) -> Lines:
    await events_of(sagas, given.id)
    return as_mermaid(await sagas.handle(given.id).journal())


async def _definition(sagas: Sagas, given: Any) -> Lines:
    versions = sagas.versions_of(given.saga)
    if not versions:
        raise LookupError(f"{sagas.name!r} has no saga {given.saga!r}")
    table = sagas.known[given.saga, versions[-1]].table
    if table is None:
        raise LookupError(f"saga {given.saga!r} is a function: draw one of its runs with `diagram ID`")
    return table.diagram()


async def _record(sagas: Sagas, given: Any) -> Lines:
    return [str(path) for path in await sagas.record(*given.ids, to=given.to)]


async def _replay(sagas: Sagas, given: Any) -> Lines:
    return [f"{path}: fits" for path in await sagas.replay(given.directory)]


async def _resume(sagas: Sagas, given: Any) -> Lines:
    told = {True: "goes on", False: "is not parked"}
    return [f"{run_id}: {told[await sagas.handle(run_id).resume()]}" for run_id in given.ids]


async def _cancel(sagas: Sagas, given: Any) -> Lines:
    told = {True: "stops at its next step", False: "is too far for that"}
    return [f"{run_id}: {told[await sagas.handle(run_id).cancel('cancelled by hand')]}" for run_id in given.ids]


if __name__ == "__main__":
    sys.exit(main())
