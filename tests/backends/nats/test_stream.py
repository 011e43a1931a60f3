"""What stands in the stream, and streams that are not fit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sdpatterns.backends.nats import NatsBackend
from sdpatterns.backends.nats.connection import Call
from sdpatterns.backends.nats.server import NatsServer
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.step import GONE
from sdpatterns.errors import BackendError, BackendFull, BackendUnavailable, CodecError
from sdpatterns.ports.states import Cells, Space
from sdpatterns.ports.timekeeping import SERVER
from sdpatterns.testing.contracts.steps import Add, AddMany, Drop, Look, Put, Time
from sdpatterns.testing.contracts.values import ODD_KEYS, BytesCodec
from tests.backends.everywhere import PATIENCE_S, unique
from tests.backends.sqlalchemy.test_write_skew import GoOffDuty

pytestmark = pytest.mark.anyio


@pytest.fixture
async def backend(nats_url: str) -> AsyncIterator[NatsBackend]:
    async with NatsBackend(nats_url, prefix=unique("t"), timeout_s=PATIENCE_S) as made:
        await made.create()
        yield made


def counters(backend: NatsBackend) -> Cells[tuple[int, ...]]:
    return backend.states.cells(Space("things", IntegersCodec()))


async def asked(backend: NatsBackend, verb: str, words: Any = None, *, log: str | None = None) -> dict[str, Any]:
    payload = b"" if words is None else json.dumps(words).encode()
    stream = backend._server.prefix if log is None else backend._server.log(log)[0]
    [said] = await backend._connection().call_all([Call(f"$JS.API.{verb}.{stream}", payload)])
    found: dict[str, Any] = json.loads(said.data)
    return found


async def test_a_cell_is_one_message_that_the_server_drops_after_its_time(backend: NatsBackend) -> None:
    cells = counters(backend)
    for keep_s in (600.0, 1200.5):
        await cells.transact("a", Add(keep_s=keep_s))
    info = await asked(backend, "STREAM.INFO")
    assert info["state"]["messages"] == 1
    [message] = await backend._connection().ask(
        [Call(f"$JS.API.DIRECT.GET.{backend._server.prefix}.{backend._server.cell('things', 'a')}")]
    )
    assert message.headers["Nats-TTL"] == "1206"
    assert message.data.endswith(b"|1:2")


async def test_a_dropped_cell_keeps_its_time_for_a_while(backend: NatsBackend) -> None:
    cells = counters(backend)
    backend.shift(500.0)
    await cells.transact("a", Add())
    last_us = await cells.transact("a", Time())
    await cells.transact("a", Drop())
    backend.shift(-500.0)
    assert await cells.read("a") is None
    assert await cells.transact("a", Look()) is None
    before, now_us = await cells.transact("a", Add())
    assert before == 0
    assert now_us >= last_us


async def test_several_cells_are_dropped_and_made_again_in_steps_on_all(backend: NatsBackend) -> None:
    cells = counters(backend)
    for _ in range(3):
        assert await cells.transact_many(["a", "b", "c"], AddMany(1, 2, None)) == [0, 0, 0]
        await cells.transact_many(["a", "b", "c"], _DropAll())
        assert await cells.read_many(["a", "b", "c"]) == [None, None, None]


class _DropAll:
    repeats = "harmless"
    script = None

    def __call__(self, states: Any, now_us: int, /) -> Any:
        return [GONE] * len(states), None, [0.0] * len(states), ()


@pytest.mark.parametrize("exist", [False, True])
async def test_of_two_steps_that_rely_on_each_others_cells_only_one_goes_on_what_it_read(
    exist: bool, nats_url: str, backend: NatsBackend
) -> None:
    async with NatsBackend(nats_url, prefix=backend._server.prefix, timeout_s=PATIENCE_S) as other:
        mine, theirs = counters(backend), counters(other)
        for key in ("0", "1") if exist else ():
            await mine.transact(key, Put((1,)))
        faster = GoOffDuty(1)
        real_write = backend._map.write

        async def after_the_other(*words: Any) -> Any:
            backend._map.write = real_write  # type: ignore[method-assign]
            assert await theirs.transact_many(("0", "1"), faster) is True
            return await real_write(*words)

        backend._map.write = after_the_other  # type: ignore[method-assign]
        slower = GoOffDuty(0)
        assert await mine.transact_many(("0", "1"), slower) is False
        assert slower.runs == 2, "the first run went on what was no longer so"
        assert [state or (1,) for state in await mine.read_many(("0", "1"))] == [(1,), (0,)]


async def test_bytes_of_another_program_are_refused_and_left(backend: NatsBackend) -> None:
    cells = counters(backend)
    await backend._connection().call_all([Call(backend._server.cell("things", "a"), b"hello")])
    with pytest.raises(CodecError, match="not a cell of this backend"):
        await cells.transact("a", Add())
    with pytest.raises(CodecError):
        await cells.read("a")
    await cells.delete("a")
    assert (await cells.transact("a", Add()))[0] == 0


async def test_a_full_stream_refuses_new_cells_and_keeps_the_others(nats_url: str) -> None:
    async with NatsBackend(nats_url, prefix=unique("full")) as backend:
        await asked(backend, "STREAM.CREATE", {**backend._server.stream(), "max_bytes": 2000})
        await backend.create()  # a limit of yours is no fault
        cells = backend.states.cells(Space("things", BytesCodec()))
        await cells.transact("a", Put(b"x" * 1000))
        with pytest.raises(BackendFull, match="raise the limits of stream"):
            await cells.transact("b", Put(b"x" * 1000))
        assert await cells.read_many(["a", "b"]) == [b"x" * 1000, None]


async def test_a_state_over_the_servers_limit_harms_only_its_caller(backend: NatsBackend) -> None:
    cells = backend.states.cells(Space("things", BytesCodec()))
    ends = await asyncio.gather(
        *(cells.transact_many([key], Put(b"x" * size)) for key, size in (("a", 10), ("b", 2_000_000), ("c", 20))),
        return_exceptions=True,
    )
    assert (ends[0], ends[2]) == (None, None)
    assert isinstance(ends[1], BackendError)
    assert "max_payload" in str(ends[1])
    assert await cells.read_many(["a", "b", "c"]) == [b"x" * 10, None, b"x" * 20]


async def test_without_its_stream_a_step_says_what_to_do(nats_url: str) -> None:
    async with NatsBackend(nats_url, prefix=unique("none")) as backend:
        for work in (counters(backend).transact("a", Add()), counters(backend).read("a")):
            with pytest.raises(BackendUnavailable, match=r"await backend\.create\(\)"):
                await work


async def test_a_stream_that_is_set_otherwise_is_refused_and_left(nats_url: str) -> None:
    async with NatsBackend(nats_url, prefix=unique("odd")) as backend:
        await asked(backend, "STREAM.CREATE", {**backend._server.stream(), "allow_atomic": False, "discard": "old"})
        with pytest.raises(
            BackendUnavailable, match="discard is 'old' and must be 'new'; allow_atomic is False and must"
        ):
            await backend.create()
        assert (await asked(backend, "STREAM.INFO"))["config"]["discard"] == "old"


async def test_an_old_server_is_refused(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with NatsBackend(nats_url, prefix=unique("old")) as backend:
        link = await backend._connection()._links.get()
        link.client._current_server.server_version = "2.11.9"  # type: ignore[union-attr]
        with pytest.raises(BackendUnavailable, match=r"runs version 2\.11; 2\.12 or newer is needed"):
            await backend.create()


async def test_a_cluster_that_is_none_is_refused(nats_url: str) -> None:
    async with NatsBackend(nats_url, prefix=unique("r3"), replicas=3) as backend:
        with pytest.raises(BackendUnavailable, match="replicas > 1 not supported"):
            await backend.create()


async def test_the_leader_alone_is_read_where_there_are_replicas(nats_url: str) -> None:
    async with NatsBackend(nats_url, prefix=unique("leader"), replicas=3) as backend:
        # A stream of one replica that must not be read directly, as a stream of three.
        await asked(backend, "STREAM.CREATE", {**backend._server.stream(), "num_replicas": 1})
        cells = counters(backend)
        assert [(await cells.transact("a", Add(keep_s=60.0)))[0] for _ in range(3)] == [0, 1, 2]
        assert await cells.transact_many(["b", "a"], AddMany(1, None)) == [0, 3]
        assert await cells.read_many(["a", "b", "none"]) == [(3,), (1,), None]
        await cells.transact("a", Drop())
        assert await cells.read("a") is None


def test_every_key_has_a_subject_of_its_own_that_the_server_takes() -> None:
    server = NatsServer(urls=("nats://h",), prefix="sdp", replicas=1, timeout_s=1.0, options={})
    words = [*ODD_KEYS, "a.b", "a", "b", "*", ">", "a b", "=", "=YQ", "%2E", ".", "k" * 1024, "ж" * 512]
    subjects = {server.cell(space, key) for space in words for key in words}
    assert len(subjects) == len(set(words)) ** 2
    assert all(subject.count(".") == 3 and subject.isascii() for subject in subjects)
    assert max(map(len, subjects)) < 4000
    assert server.cell("limiter/api", "user:42") == "sdp.cell.limiter/api.user:42"


@pytest.mark.parametrize(
    ("url", "settings", "said"),
    [
        ("redis://h", {}, "url must be like nats://localhost:4222"),
        ("", {}, "url must be like"),
        ("nats://h", {"prefix": "a.b"}, "prefix must be 1 to 64 letters"),
        ("nats://h", {"replicas": 0}, "replicas must be a whole number from 1 to 5"),
        ("nats://h", {"timeout_s": 0}, "timeout_s must be"),
    ],
)
def test_a_bad_setting_is_refused_at_once(url: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        NatsBackend(url, **settings)


def test_a_program_without_a_loop_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="nats-py has no blocking client"):
        NatsBackend("nats://h", blocking=True)


def test_it_goes_by_the_servers_clock_and_shows_no_secret() -> None:
    backend = NatsBackend("nats://user:hush@a:4222,nats://t0ken@b:4222")
    assert backend.states.clock is SERVER
    assert backend._server.shown == "nats://user:***@a:4222,nats://***@b:4222"


async def test_the_second_server_is_tried_where_the_first_is_away(nats_url: str) -> None:
    async with NatsBackend(f"nats://127.0.0.1:1,{nats_url}", prefix=unique("two"), timeout_s=PATIENCE_S) as backend:
        await backend.create()
        assert (await counters(backend).transact("a", Add()))[0] == 0
        busy = [backend.pressure() for _ in range(2)]
        assert (busy[0].used, busy[0].capacity, busy[0].waiting, busy[0].errors) == (0, 1, 0, 0)
