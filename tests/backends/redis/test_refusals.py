"""A server that declines, races that are lost, a library that is missing."""

from __future__ import annotations

import asyncio
import importlib
import secrets
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from sdpatterns import with_deadline
from sdpatterns.backends.redis import RedisBackend, backend
from sdpatterns.core.codec import IntegersCodec, JsonCodec
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendError, BackendUnavailable, OutcomeUnknown
from sdpatterns.ports.engine import execute
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.stage import RuntimeName, run
from sdpatterns.testing.valkey import valkey_process
from tests.backends.redis.proxy import FaultProxy
from tests.backends.redis.steps import Count

RUNTIMES: list[RuntimeName] = ["asyncio", "blocking"]


def test_without_redis_py_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("sdpatterns.backends.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match=r'pip install "sdpatterns\[redis\]"'):
        importlib.import_module("sdpatterns.backends.redis")


def test_a_server_that_is_too_old_is_named(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_OLDEST", (99, 0))
    with RedisBackend.from_url(valkey_url, blocking=True) as old, pytest.raises(BackendUnavailable, match="is needed"):
        finish(old.create())


@pytest.fixture
def loading() -> Iterator[str]:
    """A server that lets anybody in and then says that it is still loading its data."""

    class Loading(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.readline():
                words = []
                for _ in range(int(head[1:])):
                    size = int(self.rfile.readline()[1:])
                    words.append(self.rfile.read(size + 2)[:-2])
                known = words[0] in {b"CLIENT", b"SELECT"}
                self.wfile.write(b"+OK\r\n" if known else b"-LOADING Redis is loading the dataset in memory\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Loading) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_server_that_is_loading_has_done_nothing(runtime: RuntimeName, loading: str) -> None:
    backend = RedisBackend.from_url(loading, blocking=runtime == "blocking")
    cells = backend.states.cells(Space("loading", IntegersCodec()))

    async def play() -> None:
        async with backend:
            for step in (Count(script=True), Count(script=False), Count(script=True, repeats="harmless")):
                with pytest.raises(BackendUnavailable, match="loading"):
                    await cells.transact("a", step)
            with pytest.raises(BackendUnavailable, match="loading"):
                await cells.read("a")

    run(runtime, play)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_key_of_another_program_is_left_alone(runtime: RuntimeName, valkey_url: str) -> None:
    backend = RedisBackend.from_url(valkey_url, blocking=runtime == "blocking", prefix=f"t{secrets.token_hex(4)}")
    cells = backend.states.cells(Space("list", IntegersCodec()))

    async def play() -> None:
        async with backend:
            with redis.Redis.from_url(valkey_url) as admin:
                name = f"{backend.states._resources.server.prefix}:list/a"
                admin.lpush(name, "theirs")
                for script in (True, False):
                    with pytest.raises(BackendError, match="WRONGTYPE"):
                        await cells.transact("a", Count(script=script))
                assert admin.lrange(name, 0, -1) == [b"theirs"]

    run(runtime, play)


class Meddled(Count):
    """Another client writes the cell each time that this one is about to, so many times."""

    def __init__(self, admin: Any, name: str, times: int) -> None:
        super().__init__(script=False)
        self._admin, self._name, self.left = admin, name, times

    def __call__(self, states: Any, now_us: int, /) -> Any:
        if self.left:
            self.left -= 1
            self._admin.set(self._name, f"{now_us}|1:{1000 * self.left}")
        return super().__call__(states, now_us)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_race_is_run_again_until_it_is_won_or_the_deadline_has_passed(
    runtime: RuntimeName, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "_PAUSE_MAX_S", 0.0)
    prefix = f"t{secrets.token_hex(4)}"
    backend = RedisBackend.from_url(valkey_url, blocking=runtime == "blocking", prefix=prefix)
    cells = backend.states.cells(Space("race", IntegersCodec()))

    async def play() -> None:
        async with backend:
            with redis.Redis.from_url(valkey_url) as admin:
                assert await cells.transact("a", Meddled(admin, f"{prefix}:race/a", 20)) == 1
                assert await cells.transact("a", Meddled(admin, f"{prefix}:race/a", 200)) == 1
                endless = Meddled(admin, f"{prefix}:race/a", 1_000_000)
                with pytest.raises(BackendUnavailable, match="nothing was written"), with_deadline(0.2):
                    await cells.transact("a", endless)
                assert await cells.transact("b", Count(script=False)) == 1

    run(runtime, play)


def test_those_who_share_a_lost_race_go_on_alone(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "_PAUSE_MAX_S", 0.0)
    prefix = f"t{secrets.token_hex(4)}"

    async def play() -> None:
        async with RedisBackend.from_url(valkey_url, prefix=prefix) as backend:
            cells = backend.states.cells(Space("race", IntegersCodec()))
            with redis.Redis.from_url(valkey_url) as admin:
                meddled = Meddled(admin, f"{prefix}:race/a", 10)
                steps = [Count(script=False), meddled, *(Count(script=False) for _ in range(8))]
                ends = await asyncio.gather(*(cells.transact("a", step) for step in steps))
                assert meddled.left == 0
                # The last thing that the other client wrote was 0; the nine that came after it count on.
                assert sorted(ends) == [1, 1, 2, 3, 4, 5, 6, 7, 8, 9]

    asyncio.run(play())


def test_a_state_that_cannot_be_written_harms_only_its_maker(valkey_url: str) -> None:
    class Put:
        repeats = "unsafe"
        script = None

        def __init__(self, value: Any) -> None:
            self.value = value

        def __call__(self, states: Any, now_us: int, /) -> Any:
            return [self.value], states[0], [60.0], ()

    async def play() -> None:
        async with RedisBackend.from_url(valkey_url) as backend:
            codec = JsonCodec[Any](lambda value: value, lambda plain: plain)
            cells = backend.states.cells(Space(f"json/{secrets.token_hex(4)}", codec))
            values = [object() if place % 3 == 2 else place for place in range(12)]
            ends = await asyncio.gather(*(cells.transact("a", Put(value)) for value in values), return_exceptions=True)
            assert [type(end).__name__ for end in ends[2::3]] == ["TypeError"] * 4
            assert [end for end in ends if not isinstance(end, TypeError)] == [None, 0, 1, 3, 4, 6, 7, 9]
            assert await cells.read("a") == 10

    asyncio.run(play())


def test_a_second_loss_leaves_a_harmless_step_in_doubt(valkey_url: str) -> None:
    """Written once, then found and written again: both replies are lost, and the state tells of two."""
    with FaultProxy(valkey_url) as proxy:

        async def play() -> None:
            async with RedisBackend.from_url(proxy.url) as backend:
                cells = backend.states.cells(Space(f"doubt/{secrets.token_hex(4)}", IntegersCodec()))
                for script, on in ((True, b"EVALSHA"), (False, b"1:2\r\n")):
                    step = Count(script=script, repeats="harmless")
                    assert await cells.transact(f"{script}", step) == 1
                    proxy.arm("after", "after", on=on)
                    with pytest.raises(OutcomeUnknown):
                        await cells.transact(f"{script}", step)
                    assert await cells.read(f"{script}") == (3,)

        asyncio.run(play())


def test_a_caller_may_be_cancelled_while_the_connection_opens() -> None:
    with valkey_process() as server:
        server.pause()

        async def play() -> None:
            async with RedisBackend.from_url(f"redis://127.0.0.1:{server.port}") as backend:
                cells = backend.states.cells(Space("opening", IntegersCodec()))
                for _ in range(3):
                    first, second = (asyncio.ensure_future(cells.transact("a", Count(script=True))) for _ in range(2))
                    await asyncio.sleep(0.02)
                    first.cancel()
                    await asyncio.gather(first, return_exceptions=True)
                    second.cancel()
                    await asyncio.gather(second, return_exceptions=True)
                server.resume()
                # What was in flight when its caller was cancelled may have happened or not.
                assert 1 <= await cells.transact("a", Count(script=True)) <= 4
                assert await cells.transact("b", Count(script=True)) == 1

        asyncio.run(play())


def test_a_pool_closed_while_in_use_closes_what_comes_back(valkey_url: str) -> None:
    with FaultProxy(valkey_url) as proxy:
        backend = RedisBackend.from_url(f"{proxy.url}?client_name=closing", blocking=True)
        cells = backend.states.cells(Space(f"closing/{secrets.token_hex(4)}", IntegersCodec()))

        class CloseMeanwhile(Count):
            def __call__(self, states: Any, now_us: int, /) -> Any:
                backend.__exit__(None, None, None)
                return super().__call__(states, now_us)

        assert finish(cells.transact("a", CloseMeanwhile(script=False))) == 1
        with redis.Redis.from_url(valkey_url) as admin:
            ends_s = time.monotonic() + 60.0  # the server hears of a closed connection a little later
            while "closing" in {client["name"] for client in admin.client_list()}:
                assert time.monotonic() < ends_s
