"""Golden files: what each version of each event type looked like when it was accepted, with a sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from sdpatterns.core.values import plain_of, value_of
from sdpatterns.errors import CodecError
from sdpatterns.messaging.schema.compatibility import breaks_between
from sdpatterns.messaging.schema.config import EventPart, EventType
from sdpatterns.messaging.schema.schema import EventSchema

__all__ = ["Golden", "Incompatibility", "accept", "golden_files", "refusals"]


class Golden(NamedTuple):
    """One accepted version: its JSON schema, and the data of a sample."""

    type: str
    version: int
    schema: dict[str, Any]
    sample: dict[str, Any]

    @property
    def file_name(self) -> str:
        """Where it stands in the directory."""
        return f"{quote(self.type, safe='')}.v{self.version}.json"


class Incompatibility(NamedTuple):
    """One line of the table: what is wrong with an event type."""

    type: str
    version: int
    direction: str
    field: str
    what: str


def golden_files(directory: Path) -> list[Golden]:
    """What was accepted. Raises `CodecError` for a file that is none."""
    return [_read(path) for path in sorted(directory.glob("*.json"))]


def refusals(schema: EventSchema, accepted: list[Golden]) -> list[Incompatibility]:
    """All that keeps the schema from reading what is stored, or earlier releases from reading what it writes."""
    found = [refusal for golden in accepted for refusal in _against(schema, golden)]
    known = {(it.type, it.version) for it in accepted}
    new = [it for it in schema.types if (it.name, it.version) not in known]
    return found + [Incompatibility(it.name, it.version, "new", "", "not accepted yet: run with --write") for it in new]


def accept(schema: EventSchema, directory: Path) -> list[str]:
    """Write the newest version of each type, and remove what the schema no longer reads; the files that changed."""
    directory.mkdir(parents=True, exist_ok=True)
    changed: list[str] = []
    for golden in golden_files(directory):
        kind = schema.find(golden.type)
        if kind is None or not kind.since <= golden.version <= kind.version:
            (directory / golden.file_name).unlink()
            changed.append(f"removed {golden.file_name}")
    for kind in schema.types:
        golden = _of(schema, kind)
        text = json.dumps(
            {**golden._asdict(), "sample": plain_of(golden.sample)}, indent=2, sort_keys=True, ensure_ascii=False
        )
        path = directory / golden.file_name
        if not path.exists() or path.read_text(encoding="utf-8") != text + "\n":
            path.write_text(text + "\n", encoding="utf-8")
            changed.append(f"wrote {golden.file_name}")
    return changed


def _against(schema: EventSchema, golden: Golden) -> list[Incompatibility]:
    kind = schema.find(golden.type)
    if kind is None:
        return [_refusal(golden, "backward", "", "removed: stored events of this type cannot be read")]
    if golden.version > kind.version:
        return [_refusal(golden, "backward", "", f"removed: the newest version is {kind.version}")]
    if golden.version < kind.since:
        return [_refusal(golden, "backward", "", f"upcaster missing: versions from {kind.since} on are read")]
    found: list[Incompatibility] = []
    if golden.version == kind.version:
        breaks = breaks_between(golden.schema, schema.form(kind).schema())
        found = [_refusal(golden, it.direction, it.field, it.what) for it in sorted(breaks)]
    try:
        schema.load(EventPart(golden.type, golden.version, golden.sample))
    except CodecError as cause:
        if not found:
            found = [_refusal(golden, "backward", "", f"its sample cannot be read: {cause}")]
    return found


def _refusal(golden: Golden, direction: str, field: str, what: str) -> Incompatibility:
    return Incompatibility(golden.type, golden.version, direction, field, " ".join(what.split()))


def _of(schema: EventSchema, kind: EventType) -> Golden:
    form = schema.form(kind)
    sample = form.sample() if kind.sample is None else form.dump(kind.sample)
    try:
        schema.load(EventPart(kind.name, kind.version, sample))
    except CodecError as cause:
        raise CodecError(f"{cause}; give EventType({kind.name!r}, ...) a sample") from cause
    return Golden(kind.name, kind.version, form.schema(), sample)


def _read(path: Path) -> Golden:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        sample = json.loads(json.dumps(found["sample"]), object_hook=value_of)
        return Golden(str(found["type"]), int(found["version"]), dict(found["schema"]), dict(sample))
    except (ValueError, KeyError, TypeError) as cause:
        raise CodecError(f"{path.name} is no golden file: {cause!r}") from cause
