"""Logs on NATS, beyond the contract: what a call costs, what stands in the stream, and replies that are lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from sdpatterns.backends.nats import NatsBackend
from sdpatterns.backends.nats.connection import Call
from sdpatterns.backends.nats.events.reading import LogStream
from sdpatterns.backends.nats.log import NatsLog
from sdpatterns.errors import BackendError, BackendUnavailable, CodecError, EventsTrimmed, VersionConflict
from sdpatterns.ports.log import ANY, LogSettings, NewEvent
from sdpatterns.testing.nats import nats_process
from tests.backends.everywhere import PATIENCE_S, unique
from tests.backends.nats.test_stream import asked
from tests.backends.redis.proxy import Fault, FaultProxy

pytestmark = pytest.mark.anyio


def events(*names: str, data: bytes = b"x") -> list[NewEvent]:
    return [NewEvent(id=name, type="noted", data=data) for name in names]


def ids_of(found: Sequence[Any]) -> list[str]:
    return [each.id for each in found]


@pytest.fixture
async def backend(nats_url: str) -> AsyncIterator[NatsBackend]:
    async with NatsBackend(nats_url, prefix=unique("t"), timeout_s=PATIENCE_S) as made:
        await made.create()
        yield made


@pytest.fixture
async def log(backend: NatsBackend) -> NatsLog:
    made = backend.log("events")
    await made.append("warm", 0, events("warm"))
    return made


def another(backend: NatsBackend) -> NatsBackend:
    """Another client of the same logs, which has seen nothing of them."""
    server = backend._server
    return NatsBackend(server.urls[0], prefix=server.prefix, timeout_s=PATIENCE_S)


async def messages(backend: NatsBackend) -> dict[str, int]:
    """How many messages its connection has sent and got."""
    stats: dict[str, int] = (await backend._connection()._links.get()).client.stats
    return dict(stats)


async def test_what_an_append_sends(backend: NatsBackend, log: NatsLog) -> None:
    before = (await messages(backend))["out_msgs"]
    await log.append("a", 0, events("1"))
    await log.append("a", 1, events("2"))
    await log.append("a", ANY, events("3"))
    # An event and a signal each: the end of the stream is known.
    assert (await messages(backend))["out_msgs"] - before == 6
    async with another(backend) as other:
        await other.log("events").append("b", 0, events("1"))  # sees that the stream of the log is there
        before = (await messages(other))["out_msgs"]
        await other.log("events").append("a", ANY, events("4"))
        assert (await messages(other))["out_msgs"] - before == 3  # and a look at the end


async def test_what_several_callers_append_to_a_stream_is_one_batch(backend: NatsBackend, log: NatsLog) -> None:
    before = (await messages(backend))["out_msgs"]
    answers = await asyncio.gather(*(log.append("a", ANY, events(f"{place}", f"{place}+")) for place in range(20)))
    # The first one goes alone, looks at the end before, and the rest wait for it.
    assert (await messages(backend))["out_msgs"] - before == 1 + 2 * 20 + 2
    assert [each.version for each in answers] == [*range(2, 42, 2)]
    found = (await log.read_all()).events[1:]
    assert [each.position for each in answers] == [each.position for each in found[1::2]]


async def test_an_event_that_is_too_large_harms_only_its_caller(backend: NatsBackend) -> None:
    log = backend.log("large", LogSettings(data_bytes_max=4_000_000))
    sizes = {"a": 10, "b": 20, "c": 2_000_000, "d": 30}
    ends = await asyncio.gather(
        *(log.append("s", ANY, events(name, data=b"x" * size)) for name, size in sizes.items()),
        return_exceptions=True,
    )
    assert isinstance(ends[2], BackendError)
    assert "max_payload" in str(ends[2])
    assert sorted(ids_of((await log.read("s")).events)) == ["a", "b", "d"]


async def test_a_version_in_the_middle_of_a_long_stream_is_found_in_few_messages(backend: NatsBackend) -> None:
    log = backend.log("long")
    for begin in range(0, 6_000, 1_000):
        for stream in ("a", "b"):
            names = [f"{stream}{number}" for number in range(begin + 1, begin + 1_001)]
            await log.append(stream, begin, events(*names))
    for after, backwards in ((4_500, False), (4_510, True)):
        async with another(backend) as other:
            log = other.log("long")
            assert (await log.head()).position == 12_000
            before = (await messages(other))["in_msgs"]
            found = (await log.read("b", after, 9, backwards=backwards)).events
            assert ids_of(found[::-1] if backwards else found) == [f"b{number}" for number in range(4_501, 4_510)]
            assert (await messages(other))["in_msgs"] - before < 1_300
            # The next page begins where this one ended.
            before = (await messages(other))["in_msgs"]
            assert ids_of((await log.read("b", 4_509, 9)).events) == [f"b{number}" for number in range(4_510, 4_519)]
            assert (await messages(other))["in_msgs"] - before < 20


async def test_a_trim_marks_a_stream_once(backend: NatsBackend, log: NatsLog) -> None:
    for number in range(3):
        await log.append(f"quiet-{number}", 0, events("1", "2"))
    cut = (await log.append("busy", 0, events("1"))).position
    assert await log.trim(cut) == 7
    state = (await asked(backend, "STREAM.INFO", log="events"))["state"]
    # One event, a mark for each stream without events, and the mark of the log.
    assert state["messages"] == 1 + 4 + 1
    at = (await log.append("busy", 1, events("2"))).position
    assert await log.trim(at) == 1
    now = (await asked(backend, "STREAM.INFO", log="events"))["state"]
    assert now["messages"] == 1 + 4 + 1
    assert now["last_seq"] - state["last_seq"] == 2  # the event, and the mark of the log
    assert (await log.read("quiet-1", 2)).version == 2
    with pytest.raises(VersionConflict):
        await log.append("quiet-1", 0, events("1", "2"))
    assert (await log.append("quiet-1", 2, events("3"))).version == 3
    assert ids_of((await log.read_all((await log.head()).trimmed)).events) == ["2", "3"]


async def test_what_is_not_of_this_log_is_refused(backend: NatsBackend, log: NatsLog) -> None:
    await backend._connection().call_all([Call(log._log.subject("a", ".e"), b"hello")])
    for work in (log.read_all(), log.read("a"), log.append("a", ANY, events("1"))):
        with pytest.raises(CodecError, match="not a message of this log, at position 2"):
            await work


async def test_a_stream_that_is_set_otherwise_is_refused(backend: NatsBackend) -> None:
    wanted = {**backend._server.log_stream("odd"), "discard": "old"}
    await asked(backend, "STREAM.CREATE", wanted, log="odd")
    with pytest.raises(BackendUnavailable, match="discard is 'old' and must be 'new'"):
        await backend.log("odd").append("a", 0, events("1"))


async def test_logs_with_odd_names_have_streams_of_their_own(backend: NatsBackend) -> None:
    names = ["a", "a.b", "a/b", "A", "ключ", "x" * 200, "x" * 199 + "y"]
    for name in names:
        await backend.log(name).append("s", 0, events(name))
    for name in names:
        assert ids_of((await backend.log(name).read_all()).events) == [name]


@pytest.fixture
async def replicated(nats_url: str) -> AsyncIterator[NatsLog]:
    """A log on a stream of one replica, read as if it had three."""
    async with NatsBackend(nats_url, prefix=unique("r3"), replicas=3, timeout_s=PATIENCE_S) as backend:
        await asked(backend, "STREAM.CREATE", {**backend._server.log_stream("r"), "num_replicas": 1}, log="r")
        log = backend.log("r")
        log._log._is_made = True
        yield log


async def test_the_leader_tells_the_version_where_there_are_replicas(replicated: NatsLog) -> None:
    log, real, behind = replicated, LogStream.ask, [True]
    assert (await log.append("a", ANY, events("1", "2"))).version == 2

    async def one_event_behind(self: LogStream, calls: Sequence[Call]) -> Any:
        answers = await real(self, calls)
        if calls[-1].into and behind:
            behind.pop()
            calls[-1].into.pop()
        return answers

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LogStream, "ask", one_event_behind)
        assert ids_of((await log.read("a")).events) == ["1", "2"]
    assert not behind
    assert await log.trim_stream("a", 2) == 1
    page = await log.read_all()
    assert (ids_of(page.events), page.thinned) == (["2"], 1)
    assert await log.trim(1_000) == 1
    assert (await log.read("a", 2)).version == 2


async def test_no_reader_passes_events_that_are_dropped_while_it_reads(replicated: NatsLog) -> None:
    """What was dropped is asked for behind the page, so that it is never older than the page."""
    log, real, before = replicated, LogStream.ask, [True]
    await log.append("a", 0, events(*"1234"))

    async def dropped_before(self: LogStream, calls: Sequence[Call]) -> Any:
        if calls[0].into is not None and before:
            before.pop()
            await log.trim(4)
        return await real(self, calls)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LogStream, "ask", dropped_before)
        with pytest.raises(EventsTrimmed):
            await log.read_all(1)
    assert not before


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_an_append_whose_reply_is_lost_is_made_once(fault: Fault, nats_url: str) -> None:
    with FaultProxy(nats_url) as proxy:
        async with NatsBackend(proxy.url.replace("redis", "nats"), prefix=unique("lost")) as backend:
            log = backend.log("events")
            await log.append("warm", 0, events("warm"))
            for number, (expected, names) in enumerate([(0, "12"), (2, "3"), (ANY, "45"), (ANY, "6")], 1):
                proxy.arm(fault, on=b"HPUB lost" if len(names) == 1 else b"Nats-Batch-Commit")
                at = await log.append("a", expected, events(*names))
                assert proxy.struck == number
                assert at == (await log.read("a")).events[-1][1:3]
            assert ids_of((await log.read("a")).events) == [*"123456"]
            proxy.arm(fault, on=b"HPUB lost")
            with pytest.raises(VersionConflict):
                await log.append("warm", 0, events("other"))


async def test_what_was_appended_is_there_after_a_kill_and_the_same_log_goes_on() -> None:
    with nats_process() as server:
        async with NatsBackend(f"nats://127.0.0.1:{server.port}") as backend:
            log = backend.log("events")
            first = await log.append("a", 0, events("1", "2"))
            server.kill()
            with pytest.raises(BackendError):
                await log.append("a", 2, events("3"))
            server.start()
            assert (await log.append("a", 2, events("3"))).position == first.position + 1
            assert ids_of((await backend.log("events").read_all()).events) == ["1", "2", "3"]
