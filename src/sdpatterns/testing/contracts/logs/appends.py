"""The contract of `EventLog`: appending, and the version that a writer expects."""

from __future__ import annotations

import pytest

from sdpatterns.core.runtime import current
from sdpatterns.errors import VersionConflict
from sdpatterns.ports.log import ANY, EVENTS_AT_ONCE_MAX, Appended, EventLog, LogSettings, NewEvent
from sdpatterns.testing.contracts.logs.scenes import append, assert_log, event, log_scene, numbered, read_ids, walk
from sdpatterns.testing.contracts.stage import BackendContract, Stage
from sdpatterns.testing.contracts.steps import Time
from sdpatterns.testing.contracts.values import ODD_KEYS
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = ["LogAppends"]

ODD_METADATA = {"": "", " ": "\n", "a\x00b": "\x00", "ключ": "🔑", '"': "\\", "{}": "%", "a": "x" * 8_000, "A": "'"}
ODD_DATA = [b"", b" \n", b"\x00", b"|:{}%", b"nil", b"\xff" * 70_000, bytes(range(256)), "ключ".encode()]


class LogAppends(BackendContract):
    """Versions have no gaps, and a writer that expects a wrong one changes nothing."""

    @log_scene
    async def test_it_says_what_it_is(self, stage: Stage, log: EventLog) -> None:
        assert log.runtime is None or log.runtime is current()
        assert log.name.endswith("events")
        assert log.topic == f"log/{log.name}"

    @log_scene
    async def test_an_event_comes_out_as_it_went_in(self, stage: Stage, log: EventLog) -> None:
        sent = NewEvent(id="a", type="order.placed", data=b"\x00\xff", metadata={"tenant": "t", "name": "ключ"})
        before_us = await stage.counters().transact("clock", Time())
        at = await log.append("order-1", 0, [sent])
        after_us = await stage.counters().transact("clock", Time())
        [got] = (await log.read("order-1")).events
        assert (got.stream, got.version, got.position) == ("order-1", at.version, at.position)
        assert (got.id, got.type, got.data, dict(got.metadata)) == (sent.id, sent.type, sent.data, sent.metadata)
        assert got.version == 1
        assert got.position > 0
        # Clocks of a store may disagree by a little where they are read in different places.
        assert before_us - 1_000_000 <= got.recorded_us <= after_us + 1_000_000
        [again] = (await log.read_all()).events
        assert again == got

    @log_scene
    async def test_odd_names_and_data_come_out_as_they_went_in(self, stage: Stage, log: EventLog) -> None:
        for place, name in enumerate(ODD_KEYS):
            sent = NewEvent(
                id=name,
                type=name or "t",
                data=ODD_DATA[place % len(ODD_DATA)],
                metadata=ODD_METADATA if place % 2 else {},
            )
            await log.append(name, 0, [sent])
            [got] = (await log.read(name)).events
            assert (got.stream, got.id, got.type, got.version) == (name, sent.id, sent.type, 1)
            assert got.data == sent.data, f"{len(got.data)} bytes in place of {len(sent.data)}"
            assert dict(got.metadata) == sent.metadata
        assert_same([each.stream for each in await walk(log)], ODD_KEYS)

    @log_scene
    async def test_versions_count_from_one_without_gaps(self, stage: Stage, log: EventLog) -> None:
        assert (await append(log, "a", "1", "2", expected=0)).version == 2
        assert (await append(log, "b", "1", expected=0)).version == 1
        assert (await append(log, "a", "3", expected=2)).version == 3
        assert (await append(log, "a", "4")).version == 4
        found = await walk(log)
        assert [(each.stream, each.version) for each in found] == [("a", 1), ("a", 2), ("b", 1), ("a", 3), ("a", 4)]
        assert_log(found)

    @log_scene
    async def test_a_wrong_version_is_refused_and_changes_nothing(self, stage: Stage, log: EventLog) -> None:
        await append(log, "a", "1", "2", expected=0)
        for expected in (0, 1, 3):
            with pytest.raises(VersionConflict) as refused:
                await append(log, "a", "x", "y", expected=expected)
            error = refused.value
            assert (error.name, error.key, error.expected, error.found) == (log.name, "a", expected, 2)
        with pytest.raises(VersionConflict) as refused:
            await append(log, "new", "x", expected=1)
        assert refused.value.found == 0
        assert await read_ids(log, "a") == ["1", "2"]
        assert (await log.read("new")).version == 0
        assert len(await walk(log)) == 2
        assert (await append(log, "a", "3", expected=2)).version == 3

    @log_scene
    async def test_any_version_suits_who_says_so(self, stage: Stage, log: EventLog) -> None:
        assert (await append(log, "a", "1", expected=ANY)).version == 1
        assert (await append(log, "a", "2", "3", expected=ANY)).version == 3

    @log_scene
    async def test_an_append_that_is_repeated_answers_as_the_first_time(self, stage: Stage, log: EventLog) -> None:
        first = await append(log, "a", "1", "2", expected=0)
        second = await append(log, "a", "3", expected=2)
        await append(log, "b", "1")
        assert await append(log, "a", "1", "2", expected=0) == first
        assert await append(log, "a", "3", expected=2) == second
        assert await read_ids(log, "a") == ["1", "2", "3"]
        # The same ids elsewhere, others at the same place, or only a part of them are no repeat.
        for names, expected in ((["2", "3"], 0), (["1", "x"], 0), (["3", "4"], 2), (["1", "2"], 1)):
            with pytest.raises(VersionConflict):
                await append(log, "a", *names, expected=expected)
        assert len(await walk(log)) == 4

    @log_scene
    async def test_what_no_store_could_keep_is_refused(self, stage: Stage, log: EventLog) -> None:
        small = stage.log("small", LogSettings(data_bytes_max=3))
        refused: list[tuple[str, object, list[NewEvent]]] = [
            ("a", 0, []),
            ("a", -1, [event("1")]),
            ("a", 1.5, [event("1")]),
            ("a", True, [event("1")]),
            ("a" * 1025, 0, [event("1")]),
            ("\ud800", 0, [event("1")]),
            ("a", 0, [event("1"), event("2", data=b"1234")]),
            ("a", 0, numbered(EVENTS_AT_ONCE_MAX + 1)),
        ]
        for stream, expected, events in refused:
            with pytest.raises(ValueError, match=r"must|takes"):
                await small.append(stream, expected, events)  # type: ignore[arg-type]
        assert await walk(small) == []
        await small.append("a", 0, [event("1", data=b"123")])

    @log_scene
    async def test_many_events_in_one_append(self, stage: Stage, log: EventLog) -> None:
        await append(log, "a", "first")
        at = await log.append("a", 1, numbered(EVENTS_AT_ONCE_MAX))
        assert at.version == 1 + EVENTS_AT_ONCE_MAX
        found = await walk(log, 700)
        assert_same([each.id for each in found], ["first", *(each.id for each in numbered(EVENTS_AT_ONCE_MAX))])
        assert Appended(found[-1].version, found[-1].position) == at
        assert_log(found)

    @log_scene
    async def test_logs_have_streams_of_their_own(self, stage: Stage, log: EventLog) -> None:
        other = stage.log("other")
        await append(log, "a", "1", expected=0)
        await append(other, "a", "2", expected=0)
        assert await read_ids(log, "a") == ["1"]
        assert [each.id for each in await walk(other)] == ["2"]
