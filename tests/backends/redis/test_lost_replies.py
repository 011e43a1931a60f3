"""A connection that breaks between a command and its reply, on a real server behind a real proxy."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.errors import BackendUnavailable, OutcomeUnknown
from sdpatterns.ports.states import Cells, Space
from sdpatterns.testing.contracts.stage import RuntimeName, run
from tests.backends.redis.proxy import FaultProxy
from tests.backends.redis.steps import Count, CountAll

RUNTIMES: list[RuntimeName] = ["asyncio", "blocking"]
Play = Callable[[Cells[tuple[int, ...]]], Awaitable[None]]


@pytest.fixture
def proxy(valkey_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(valkey_url) as proxy:
        yield proxy


def on_stage(runtime: RuntimeName, proxy: FaultProxy, play: Play, *, timeout_s: float = 5.0) -> None:
    """Play on cells that have been stepped on once, by each kind of step: the scripts are known."""
    backend = RedisBackend.from_url(proxy.url, blocking=runtime == "blocking", timeout_s=timeout_s)
    cells = backend.states.cells(Space(f"lost/{secrets.token_hex(4)}", IntegersCodec()))

    async def whole() -> None:
        async with backend:
            assert await cells.transact("warm", Count(script=True)) == 1
            assert await cells.transact("warm", Count(script=False)) == 2
            await play(cells)

    run(runtime, whole)


@pytest.mark.parametrize("script", [True, False], ids=["script", "compare-and-set"])
@pytest.mark.parametrize("runtime", RUNTIMES)
class TestOneStep:
    def test_unsafe_and_lost_before_the_server(self, runtime: RuntimeName, script: bool, proxy: FaultProxy) -> None:
        async def play(cells: Cells[tuple[int, ...]]) -> None:
            proxy.arm("before", on=b"EVALSHA" if script else b"1:1\r\n")
            with pytest.raises(OutcomeUnknown, match="may have happened or not"):
                await cells.transact("a", Count(script=script))
            assert proxy.struck == 1
            assert await cells.read("a") is None
            assert await cells.transact("a", Count(script=script)) == 1

        on_stage(runtime, proxy, play)

    def test_unsafe_and_lost_after_the_server(self, runtime: RuntimeName, script: bool, proxy: FaultProxy) -> None:
        async def play(cells: Cells[tuple[int, ...]]) -> None:
            proxy.arm("after", on=b"EVALSHA" if script else b"1:1\r\n")
            with pytest.raises(OutcomeUnknown):
                await cells.transact("a", Count(script=script))
            assert await cells.read("a") == (1,)

        on_stage(runtime, proxy, play)

    @pytest.mark.parametrize(("fault", "runs"), [("before", 1), ("after", 2)])
    def test_harmless_is_sent_once_more(
        self, runtime: RuntimeName, script: bool, fault: str, runs: int, proxy: FaultProxy
    ) -> None:
        async def play(cells: Cells[tuple[int, ...]]) -> None:
            proxy.arm(fault, on=b"EVALSHA" if script else b"1:1\r\n")  # type: ignore[arg-type]
            assert await cells.transact("a", Count(script=script, repeats="harmless")) == runs
            assert proxy.struck == 1
            assert proxy.connections == 2

        on_stage(runtime, proxy, play)

    def test_harmless_is_not_sent_without_end(self, runtime: RuntimeName, script: bool, proxy: FaultProxy) -> None:
        async def play(cells: Cells[tuple[int, ...]]) -> None:
            proxy.arm("after", "after", "after", on=b"EVALSHA" if script else b"/a\r\n")
            with pytest.raises((OutcomeUnknown, BackendUnavailable)):
                await cells.transact("a", Count(script=script, repeats="harmless"))
            assert proxy.struck == 2

        on_stage(runtime, proxy, play)

    def test_a_connection_cut_while_idle_is_replaced_unseen(
        self, runtime: RuntimeName, script: bool, proxy: FaultProxy
    ) -> None:
        async def play(cells: Cells[tuple[int, ...]]) -> None:
            for count in (1, 2, 3):
                proxy.cut()
                await asyncio.sleep(0.05) if runtime == "asyncio" else None
                assert await cells.transact("a", Count(script=script)) == count
            assert proxy.connections == 4

        on_stage(runtime, proxy, play)

    def test_a_server_that_falls_silent(self, runtime: RuntimeName, script: bool, proxy: FaultProxy) -> None:
        async def play(cells: Cells[tuple[int, ...]]) -> None:
            proxy.arm("frozen", on=b"EVALSHA" if script else b"1:1\r\n")
            begin = time.monotonic()
            with pytest.raises(OutcomeUnknown, match=r"no reply within 0\.3 s|Timeout"):
                await cells.transact("a", Count(script=script))
            assert time.monotonic() - begin > 0.25
            assert await cells.transact("a", Count(script=script)) == 1

        on_stage(runtime, proxy, play, timeout_s=0.3)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_read_that_is_lost_is_read_again(runtime: RuntimeName, proxy: FaultProxy) -> None:
    async def play(cells: Cells[tuple[int, ...]]) -> None:
        for fault in ("before", "after"):
            proxy.arm(fault, on=b"MGET")  # type: ignore[arg-type]
            assert await cells.read("warm") == (2,)
        # The read before a compare-and-set: nothing has happened yet, whatever `repeats` says.
        proxy.arm("after", on=b"/warm\r\n")
        assert await cells.transact("warm", Count(script=False)) == 3
        proxy.arm("after", "after", on=b"/warm\r\n")
        with pytest.raises(BackendUnavailable):
            await cells.transact("warm", Count(script=False))
        assert await cells.read("warm") == (3,)

    on_stage(runtime, proxy, play)


@pytest.mark.parametrize("script", [True, False], ids=["script", "compare-and-set"])
def test_those_who_shared_the_lost_batch_are_told_apart(script: bool, proxy: FaultProxy) -> None:
    async def play(cells: Cells[tuple[int, ...]]) -> None:
        # The first caller goes alone, the others together; without a script the first of each cell does.
        proxy.arm("after", on=b"/a\r\n" if script else b"1:40\r\n")
        first = asyncio.ensure_future(cells.transact("first", Count(script=script)))
        unsafe = [cells.transact("a", Count(script=script)) for _ in range(20)]
        harmless = [cells.transact("a", Count(script=script, repeats="harmless")) for _ in range(20)]
        ends = await asyncio.gather(first, *unsafe, *harmless, return_exceptions=True)
        unknown = [end for end in ends if isinstance(end, OutcomeUnknown)]
        assert proxy.struck == 1
        assert ends[0] == 1
        assert all(isinstance(end, int) for end in ends[21:])
        assert not [end for end in ends if isinstance(end, Exception) and not isinstance(end, OutcomeUnknown)]
        assert len({id(error) for error in unknown}) == len(unknown) == (20 if script else 19)
        state = await cells.read("a")
        assert state is not None
        assert 20 <= state[0] <= 60

    on_stage("asyncio", proxy, play)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_step_on_several_cells_is_lost_whole(runtime: RuntimeName, proxy: FaultProxy) -> None:
    async def play(cells: Cells[tuple[int, ...]]) -> None:
        for script in (True, False):
            keys = [f"{script}-{place}" for place in range(3)]
            await cells.transact_many(keys, CountAll(script=script))
            proxy.arm("after", on=b"EVALSHA" if script else b"1:2\r\n")
            with pytest.raises(OutcomeUnknown):
                await cells.transact_many(keys, CountAll(script=script))
            assert await cells.read_many(keys) == [(2,)] * 3
            proxy.arm("before", on=b"EVALSHA" if script else b"1:3\r\n")
            with pytest.raises(OutcomeUnknown):
                await cells.transact_many(keys, CountAll(script=script))
            assert await cells.read_many(keys) == [(2,)] * 3

    on_stage(runtime, proxy, play)


def test_a_caller_cancelled_before_its_reply_costs_no_connection(proxy: FaultProxy) -> None:
    async def play(cells: Cells[tuple[int, ...]]) -> None:
        for turns in range(1, 8):
            task = asyncio.ensure_future(cells.transact("a", Count(script=True)))
            for _ in range(turns % 4 + 1):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await cells.transact(f"b{turns}", Count(script=True)) == 1
        assert proxy.connections == 1

    on_stage("asyncio", proxy, play)
