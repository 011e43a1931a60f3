"""Events as rows and back, where neighbours share their metadata and where they do not."""

from __future__ import annotations

import pytest

from sdpatterns.backends.sqlalchemy.events.rows import append_of, found_in_log, found_in_stream
from sdpatterns.ports.log import NewEvent

_A, _B = {"a": "1"}, {"b": "2"}


@pytest.mark.parametrize("metadata", [[{}, _A, _A, {}, _B, _A], [_A, dict(_A)], [{}], [{}, {}], [_B, {}]])
def test_each_event_has_its_own_metadata(metadata: list[dict[str, str]]) -> None:
    events = [NewEvent(id=f"e{place}", type="noted", data=b"", metadata=each) for place, each in enumerate(metadata)]
    stored = append_of("s", 0, events)
    rows = [
        (place, place, *row, 0)
        for place, row in enumerate(zip(stored.ids, stored.types, stored.data, stored.metadata, strict=True), 1)
    ]
    for found in (found_in_stream("s", rows), found_in_log([(*row, "s") for row in rows])):
        assert [it.metadata for it in found] == metadata
        # Each has one to itself, which a caller may change.
        assert len({id(it.metadata) for it in found}) == len(found)
