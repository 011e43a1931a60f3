"""A NATS server that is away, dies, freezes and comes back, and replies that are lost."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from sdpatterns.backends.nats import NatsBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.errors import BackendError, BackendUnavailable, OutcomeUnknown
from sdpatterns.ports.states import Cells, Space
from sdpatterns.testing.contracts.steps import Add, AddMany
from sdpatterns.testing.nats import nats_process
from sdpatterns.testing.processes import ServerProcess, free_port
from tests.backends.redis.proxy import FaultProxy
from tests.backends.redis.steps import Count

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with nats_process() as process:
        yield process


def backend_at(port: int, **settings: Any) -> NatsBackend:
    return NatsBackend(f"nats://127.0.0.1:{port}", **settings)


def counters(backend: NatsBackend) -> Cells[tuple[int, ...]]:
    return backend.states.cells(Space(f"outage/{secrets.token_hex(4)}", IntegersCodec()))


async def test_a_server_that_is_away_is_named_with_the_fix_and_without_its_password() -> None:
    async with NatsBackend(f"nats://shop:hush@127.0.0.1:{free_port()}") as backend:
        cells = counters(backend)
        works = (backend.create, lambda: cells.transact("a", Add()), lambda: cells.read("a"),
                 lambda: backend.signals.notify("a"), lambda: backend.signals.subscribe("a").__aenter__())  # fmt: skip
        for work in works:
            with pytest.raises(BackendUnavailable, match=r"shop:\*\*\*@127\.0\.0\.1.*start the server there") as caught:
                await work()
            assert "hush" not in str(caught.value)
            assert "\n" not in str(caught.value)


async def test_what_was_answered_is_there_after_a_kill_and_the_same_backend_goes_on(server: ServerProcess) -> None:
    async with backend_at(server.port) as backend:
        await backend.create()
        cells = counters(backend)
        assert [await cells.transact("a", Count(script=False)) for _ in range(5)] == [1, 2, 3, 4, 5]
        async with backend.signals.subscribe("news") as subscription:
            server.kill()
            for _ in range(5):
                with pytest.raises(BackendError):
                    await cells.transact("a", Count(script=False))
            server.start()
            # What was refused for lack of a connection is not sent later.
            assert await cells.transact("a", Count(script=False)) in {6, 7}
            # Something may have been missed, so every waiter is woken once; then it hears as before.
            assert await subscription.wait(60.0)
            await backend.signals.notify("news")
            assert await subscription.wait(60.0)


async def test_steps_that_were_not_sent_never_happen(server: ServerProcess) -> None:
    async with backend_at(server.port) as backend:
        await backend.create()
        cells = counters(backend)
        server.kill()
        with contextlib.suppress(BackendError):
            await cells.transact("warm", Count(script=False))  # it finds the connection broken
        ends = await asyncio.gather(
            *(cells.transact("a", Count(script=False)) for _ in range(20)), return_exceptions=True
        )
        assert {type(end) for end in ends} == {BackendUnavailable}
        server.start()
        assert await cells.read("a") is None
        assert await cells.transact("a", Count(script=False)) == 1


async def test_a_step_during_a_freeze_has_an_unknown_end_and_the_next_one_works(server: ServerProcess) -> None:
    async with backend_at(server.port, timeout_s=1.0) as backend:
        await backend.create()
        cells = counters(backend)
        await cells.transact("a", Add())
        server.pause()
        try:
            with pytest.raises(BackendUnavailable, match="no answer within 1 s"):
                await cells.transact("a", Add())  # its read
        finally:
            server.resume()
        async with backend_at(server.port) as patient:
            assert (await patient.states.cells(cells.space).transact("a", Add()))[0] == 1


class TestALostReply:
    """The write is lost on its way there, or its reply on its way back."""

    @pytest.fixture
    def proxy(self, server: ServerProcess) -> Iterator[FaultProxy]:
        with FaultProxy(f"nats://127.0.0.1:{server.port}") as proxy:
            yield proxy

    @contextlib.asynccontextmanager
    async def cells(self, proxy: FaultProxy) -> Any:
        async with NatsBackend(proxy.url.replace("redis", "nats")) as backend:
            await backend.create()
            cells = counters(backend)
            await cells.transact("warm", Count(script=False))
            yield cells

    @pytest.mark.parametrize(("fault", "count"), [("before", None), ("after", (1,))])
    async def test_of_an_unsafe_step_is_told(self, proxy: FaultProxy, fault: Any, count: Any) -> None:
        async with self.cells(proxy) as cells:
            proxy.arm(fault, on=b"HPUB sdp.cell.")
            with pytest.raises(OutcomeUnknown, match="may have happened or not"):
                await cells.transact("a", Count(script=False))
            assert proxy.struck == 1
            assert await cells.read("a") == count

    @pytest.mark.parametrize(("fault", "count"), [("before", 1), ("after", 2)])
    async def test_of_a_harmless_step_is_mended(self, proxy: FaultProxy, fault: Any, count: int) -> None:
        async with self.cells(proxy) as cells:
            proxy.arm(fault, on=b"HPUB sdp.cell.")
            assert await cells.transact("a", Count(script=False, repeats="harmless")) == count
            assert proxy.struck == 1

    @pytest.mark.parametrize(("fault", "count"), [("before", None), ("after", (1,))])
    async def test_of_a_step_on_several_cells_leaves_all_or_nothing(
        self, proxy: FaultProxy, fault: Any, count: Any
    ) -> None:
        async with self.cells(proxy) as cells:
            proxy.arm(fault, on=b"Nats-Batch-Commit")
            with pytest.raises(OutcomeUnknown):
                await cells.transact_many(["a", "b"], AddMany(1, 1))
            assert await cells.read_many(["a", "b"]) == [count, count]

    async def test_of_a_read_is_asked_again(self, proxy: FaultProxy) -> None:
        async with self.cells(proxy) as cells:
            proxy.arm("after", on=b"DIRECT.GET")
            assert await cells.read("warm") == (1,)
            assert proxy.struck == 1

    async def test_a_connection_cut_while_idle_is_replaced_unseen(self, proxy: FaultProxy) -> None:
        async with self.cells(proxy) as cells:
            for count in (2, 3, 4):
                proxy.cut()
                await asyncio.sleep(0.05)
                assert await cells.transact("warm", Count(script=False)) == count
