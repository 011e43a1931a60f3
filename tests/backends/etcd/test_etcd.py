"""What stands in etcd, and an etcd that is away, dies, freezes and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aetcd import rpc

from sdpatterns.backends.etcd import EtcdBackend
from sdpatterns.backends.etcd.server import EtcdServer
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.errors import BackendError, BackendUnavailable, CodecError, OutcomeUnknown
from sdpatterns.ports.states import Cells, Space
from sdpatterns.ports.timekeeping import Skewed
from sdpatterns.testing.contracts.steps import Add, AddMany, Put
from sdpatterns.testing.contracts.values import ODD_KEYS, BytesCodec
from sdpatterns.testing.etcd import etcd_process
from sdpatterns.testing.processes import ServerProcess, free_port
from tests.backends.everywhere import PATIENCE_S, unique
from tests.backends.redis.proxy import FaultProxy
from tests.backends.redis.steps import Count
from tests.backends.sqlalchemy.test_write_skew import GoOffDuty

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with etcd_process() as process:
        yield process


@pytest.fixture
async def backend(etcd_url: str) -> AsyncIterator[EtcdBackend]:
    async with EtcdBackend(etcd_url, prefix=unique("t"), timeout_s=PATIENCE_S) as made:
        yield made


def counters(backend: EtcdBackend) -> Cells[tuple[int, ...]]:
    return backend.states.cells(Space(f"outage/{secrets.token_hex(4)}", IntegersCodec()))


def at(port: int, **settings: Any) -> EtcdBackend:
    return EtcdBackend(f"etcd://127.0.0.1:{port}", **settings)


async def stored(backend: EtcdBackend, key: bytes) -> Any:
    return await backend._connection().call(rpc.KVStub, "Range", rpc.RangeRequest(key=key))


async def test_cells_of_similar_lives_share_a_lease_that_outlives_them(backend: EtcdBackend) -> None:
    cells = counters(backend)
    for key, keep_s in (("a", 600.0), ("b", 700.0), ("c", 10.0)):
        await cells.transact(key, Add(keep_s=keep_s))
    leases = {}
    for key in "abc":
        found = await stored(backend, backend._server.cell(cells.space.name, key))
        leases[key] = found.kvs[0].lease
    assert leases["a"] == leases["b"] != leases["c"]
    asked = rpc.LeaseTimeToLiveRequest(ID=leases["a"])
    told = await backend._connection().call(rpc.LeaseStub, "LeaseTimeToLive", asked)
    assert told.grantedTTL == 2048


async def test_a_lease_that_was_revoked_is_replaced(backend: EtcdBackend) -> None:
    cells = counters(backend)
    await cells.transact("a", Add())
    lease = await backend._connection().lease(3605.0)
    await backend._connection().call(rpc.LeaseStub, "LeaseRevoke", rpc.LeaseRevokeRequest(ID=lease))
    assert await cells.read("a") is None, "what hung on it is gone"
    assert (await cells.transact("a", Add()))[0] == 0


@pytest.mark.parametrize("exist", [False, True])
async def test_of_two_steps_that_rely_on_each_others_cells_only_one_goes_on_what_it_read(
    exist: bool, etcd_url: str, backend: EtcdBackend
) -> None:
    async with EtcdBackend(etcd_url, prefix=backend._server.prefix, timeout_s=PATIENCE_S) as other:
        mine = counters(backend)
        theirs = other.states.cells(mine.space)
        for key in ("0", "1") if exist else ():
            await mine.transact(key, Put((1,)))
        real_write = backend._map.write

        async def after_the_other(*words: Any) -> Any:
            backend._map.write = real_write  # type: ignore[method-assign]
            assert await theirs.transact_many(("0", "1"), GoOffDuty(1)) is True
            return await real_write(*words)

        backend._map.write = after_the_other  # type: ignore[method-assign]
        slower = GoOffDuty(0)
        assert await mine.transact_many(("0", "1"), slower) is False
        assert slower.runs == 2, "the first run went on what was no longer so"


async def test_a_step_on_too_many_cells_harms_only_its_caller(backend: EtcdBackend) -> None:
    cells = counters(backend)
    many = [f"{number}" for number in range(200)]
    ends = await asyncio.gather(
        cells.transact_many(["a", "b"], AddMany(1, 1)),
        cells.transact_many(many, AddMany(*[1] * 200)),
        cells.transact_many(["b", "c"], AddMany(1, 1)),
        return_exceptions=True,
    )
    assert (ends[0], ends[2]) == ([0, 0], [1, 0])
    assert isinstance(ends[1], BackendError)
    assert "too many operations" in str(ends[1])
    # To read them all at one moment is not promised.
    assert await cells.read_many(many) == [None] * 200


async def test_a_state_that_is_too_large_is_refused(backend: EtcdBackend) -> None:
    cells = backend.states.cells(Space("things", BytesCodec()))
    with pytest.raises(BackendError, match="larger than max"):
        await cells.transact("a", Put(b"x" * 3_000_000))
    assert await cells.read("a") is None


async def test_more_topics_than_a_transaction_holds_are_all_announced(backend: EtcdBackend) -> None:
    topics = [unique(f"topic{number}") for number in range(300)]
    async with backend.signals.subscribe(topics[0]) as first, backend.signals.subscribe(topics[-1]) as last:
        await counters(backend).transact("a", Add(wake=topics))
        assert await first.wait(60.0)
        assert await last.wait(60.0)
        await backend.signals.notify(*topics)
        assert await first.wait(60.0)
        assert await last.wait(60.0)


async def test_bytes_of_another_program_are_refused_and_left(backend: EtcdBackend) -> None:
    cells = counters(backend)
    key = backend._server.cell(cells.space.name, "a")
    await backend._connection().call(rpc.KVStub, "Put", rpc.PutRequest(key=key, value=b"hello"))
    with pytest.raises(CodecError, match="not a cell of this backend"):
        await cells.transact("a", Add())


async def test_a_server_that_is_away_is_named_with_the_fix_and_without_its_password() -> None:
    async with EtcdBackend(f"etcd://shop:hush@127.0.0.1:{free_port()}") as backend:
        cells = counters(backend)
        works = (backend.create, lambda: cells.transact("a", Add()), lambda: cells.read("a"),
                 lambda: backend.signals.notify("a"), lambda: backend.signals.subscribe("a").__aenter__())  # fmt: skip
        for work in works:
            with pytest.raises(BackendUnavailable, match=r"shop:\*\*\*@127\.0\.0\.1.*start the server there") as caught:
                await work()
            assert "hush" not in str(caught.value)


async def test_an_unknown_user_is_refused(server: ServerProcess) -> None:
    async with EtcdBackend(f"etcd://shop:hush@127.0.0.1:{server.port}") as backend:
        with pytest.raises(BackendUnavailable, match=r"refuses: .*authentication is not enabled.*correct the user"):
            await counters(backend).read("a")


async def test_what_was_answered_is_there_after_a_kill_and_the_same_backend_goes_on(server: ServerProcess) -> None:
    async with at(server.port) as backend:
        await backend.create()
        cells = counters(backend)
        assert [await cells.transact("a", Count(script=False)) for _ in range(5)] == [1, 2, 3, 4, 5]
        async with backend.signals.subscribe("news") as subscription:
            server.kill()
            for _ in range(5):
                with pytest.raises(BackendError):
                    await cells.transact("a", Count(script=False))
            server.start()
            assert await cells.transact("a", Count(script=False)) in {6, 7}
            assert await subscription.wait(60.0)
            await backend.signals.notify("news")
            assert await subscription.wait(60.0)


async def test_steps_that_were_not_sent_never_happen(server: ServerProcess) -> None:
    async with at(server.port) as backend:
        cells = counters(backend)
        await cells.transact("warm", Count(script=False))
        server.kill()
        with contextlib.suppress(BackendError):
            await cells.transact("warm", Count(script=False))
        ends = await asyncio.gather(
            *(cells.transact("a", Count(script=False)) for _ in range(20)), return_exceptions=True
        )
        assert {type(end) for end in ends} == {BackendUnavailable}
        server.start()
        assert await cells.read("a") is None


class TestALostReply:
    """A transaction that writes is lost, or its connection is cut when the server says something.

    In the second case etcd has made the transaction or not: it drops what it has not begun for a client that is gone.
    """

    @pytest.fixture
    def proxy(self, server: ServerProcess) -> Iterator[FaultProxy]:
        with FaultProxy(f"etcd://127.0.0.1:{server.port}") as proxy:
            yield proxy

    @pytest.mark.parametrize(("fault", "count"), [("before", [None]), ("after", [None, (1,)])])
    async def test_of_an_unsafe_step_is_told(self, proxy: FaultProxy, fault: Any, count: list[Any]) -> None:
        async with EtcdBackend(proxy.url.replace("redis", "etcd")) as backend:
            cells = counters(backend)
            await cells.transact("warm", Count(script=False))
            proxy.arm(fault, on=b"|1:1")
            with pytest.raises(OutcomeUnknown, match="may have happened or not"):
                await cells.transact("a", Count(script=False))
            assert proxy.struck == 1
            assert await cells.read("a") in count

    @pytest.mark.parametrize(("fault", "count"), [("before", [1]), ("after", [1, 2])])
    async def test_of_a_harmless_step_is_mended(self, proxy: FaultProxy, fault: Any, count: list[int]) -> None:
        async with EtcdBackend(proxy.url.replace("redis", "etcd")) as backend:
            cells = counters(backend)
            await cells.transact("warm", Count(script=False))
            proxy.arm(fault, on=b"|1:1")
            assert await cells.transact("a", Count(script=False, repeats="harmless")) in count


async def test_an_old_server_is_refused(backend: EtcdBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    async def old(*_: Any) -> Any:
        return rpc.StatusResponse(version="3.3.27")

    monkeypatch.setattr(backend._connection(), "call", old)
    with pytest.raises(BackendUnavailable, match=r"runs version 3\.3\.27; 3\.4 or newer is needed"):
        await backend.create()


def test_every_cell_has_a_key_of_its_own() -> None:
    server = EtcdServer(url="etcd://h", prefix="sdp", timeout_s=1.0, credentials=None)
    words = [*ODD_KEYS, "a/b", "a", "b", "1/a", "/"]
    keys = {server.cell(space, key) for space in words for key in words}
    assert len(keys) == len(set(words)) ** 2


@pytest.mark.parametrize(
    ("url", "settings", "said"),
    [
        ("http://h", {}, "url must be like etcd://localhost:2379"),
        ("etcd://", {}, "url must be like"),
        ("etcd://h", {"prefix": ""}, "prefix must be ASCII and not empty"),
        ("etcd://h", {"timeout_s": 0}, "timeout_s must be"),
        ("etcd://h", {"skew_s": 0}, "by_s must be"),
    ],
)
def test_a_bad_setting_is_refused_at_once(url: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EtcdBackend(url, **settings)


def test_a_program_without_a_loop_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="aetcd has no blocking client"):
        EtcdBackend("etcd://h", blocking=True)


def test_it_declares_by_how_much_its_clients_clocks_may_differ() -> None:
    assert EtcdBackend("etcd://h").states.clock == Skewed(1.0)
    assert EtcdBackend("etcd://h", skew_s=0.25).states.clock.by_us == 250_000
