"""Journals as files, for replays: JSON lines that a person can read, one for each entry.

```
{"format": 1, "sagas": "orders", "run": "order-1", "saga": "place_order", "version": 1}
{"at": "2026-01-05T09:30:00+00:00", "type": "step-done", "codec": 1, "entry": {"step": "reserve", "value": "lamp"}}
```
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sdpatterns.core.codec import split_version
from sdpatterns.errors import CodecError, UnknownVersion
from sdpatterns.messaging.saga.journal import Entry, RunStarted, decoded, fields_of
from sdpatterns.ports.log import RecordedEvent

if TYPE_CHECKING:
    from sdpatterns.messaging.saga.sagas import Sagas

__all__ = ["events_of", "read_recording", "recordings_in", "write_recording"]

_SUFFIX = ".journal.jsonl"
_FORMAT = 1
_PAGE = 1_000


async def events_of(sagas: Sagas, run_id: str) -> list[RecordedEvent]:
    """All entries of a run as they are stored. Raises `LookupError` where there are none."""
    events: list[RecordedEvent] = []
    while page := (await sagas.log.read(run_id, len(events), _PAGE)).events:
        events += page
    if not events:
        raise LookupError(f"there is no run {run_id!r} of {sagas.name!r}")
    return events


def write_recording(directory: Path, sagas: str, events: Sequence[RecordedEvent]) -> Path:
    """Write the entries of a run to a file of its own, over an earlier one. Raises `LookupError` for a closed run."""
    started, run_id = decoded(events[0]), events[0].stream
    if not isinstance(started, RunStarted):
        raise LookupError(f"run {run_id!r} of {sagas!r} was never started")  # noqa: TRY004 - no argument is wrong
    head = {"format": _FORMAT, "sagas": sagas, "run": run_id, "saga": started.saga, "version": started.version}
    lines = [json.dumps(line, ensure_ascii=False) for line in (head, *map(_line, events))]
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{quote(f'{started.saga}-{started.version}-{run_id}', safe=' ')}{_SUFFIX}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def recordings_in(directory: Path) -> list[Path]:
    """The files of a directory, by name. Raises `LookupError` where there are none."""
    paths = sorted(directory.glob(f"*{_SUFFIX}"))
    if not paths:
        raise LookupError(f"there are no recorded journals (*{_SUFFIX}) in {directory}")
    return paths


def read_recording(path: Path) -> tuple[str, list[Entry]]:
    """The id of a run and its entries. Raises `CodecError` for a file that was written otherwise."""
    head, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    run_id = _run_of(path, head)
    entries: list[Entry] = []
    for number, line in enumerate(lines, 2):
        try:
            entries.append(_entry(run_id, json.loads(line)))
        except (ValueError, KeyError, TypeError, CodecError) as cause:
            raise CodecError(f"{path}, line {number}: {cause}") from cause
    if not entries or not isinstance(entries[0], RunStarted):
        raise CodecError(f"{path} does not begin with the start of a run")
    return run_id, entries


def _run_of(path: Path, line: str) -> str:
    try:
        head = json.loads(line)
        found, run_id = int(head["format"]), str(head["run"])
    except (ValueError, KeyError, TypeError) as cause:
        raise CodecError(f"{path} is no journal of a run: {cause}") from cause
    if found > _FORMAT:
        raise UnknownVersion(f"{path} has format {found}; this release knows {_FORMAT}")
    return run_id


def _line(event: RecordedEvent) -> dict[str, Any]:
    codec, body = split_version(event.data)
    at = dt.datetime.fromtimestamp(event.recorded_us / 1_000_000, dt.UTC).isoformat()
    entry = dict(zip(fields_of(event.type), json.loads(body), strict=False))
    return {"at": at, "type": event.type, "codec": codec, "entry": entry}


def _entry(run_id: str, line: dict[str, Any]) -> Entry:
    kind, given = str(line["type"]), line["entry"]
    values = [given[name] for name in fields_of(kind) if name in given]
    data = f"{int(line['codec'])}:{json.dumps(values)}".encode()
    return decoded(RecordedEvent(run_id, 1, 1, "recorded", kind, data, {}, 0))
