"""Built at import, opened at first use, closed for certain, away and back again."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.redis.server import Server
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import ASYNCIO, BLOCKING, finish
from sdpatterns.errors import BackendError, BackendFull, BackendUnavailable
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.stage import RuntimeName, run
from sdpatterns.testing.processes import ServerProcess
from sdpatterns.testing.valkey import valkey_process
from tests.backends.redis.proxy import FaultProxy
from tests.backends.redis.steps import Count

RUNTIMES: list[RuntimeName] = ["asyncio", "blocking"]


def space() -> str:
    return f"life/{secrets.token_hex(4)}"


def url_of(process: ServerProcess) -> str:
    return f"redis://127.0.0.1:{process.port}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "http://x"}, "url"),
        ({"url": "redis://u:secret@h/?socket_timeout=x"}, r"redis://u:\*\*\*@h.*socket_timeout"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": 3601}, "timeout_s"),
        ({"connections_max": 0}, "connections_max"),
        ({"connections_max": 10_001}, "connections_max"),
        ({"prefix": ""}, "prefix"),
        ({"prefix": "{x}"}, "prefix"),
    ],
)
@pytest.mark.parametrize("blocking", [True, False])
def test_bad_settings_fail_at_once(settings: dict[str, object], words: str, blocking: bool) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        RedisBackend.from_url(**{"url": "redis://h", **settings}, blocking=blocking)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_an_empty_group_is_refused() -> None:
    with pytest.raises(ValueError, match="group"):
        RedisBackend.from_url("redis://h").states.cells(Space("x", IntegersCodec(), group=""))


def test_building_opens_nothing_and_names_its_runtime(valkey_url: str) -> None:
    with FaultProxy(valkey_url) as proxy:
        for blocking, runtime in ((False, ASYNCIO), (True, BLOCKING)):
            backend = RedisBackend.from_url(proxy.url, blocking=blocking)
            cells = backend.states.cells(Space(space(), IntegersCodec()))
            backend.signals.subscribe("topic")
            assert backend.states.runtime is runtime is backend.signals.runtime
            if blocking:
                with backend:
                    pass
            else:
                with pytest.raises(TypeError, match="async with"):
                    backend.__enter__()
                with pytest.raises(RuntimeError, match="loop"):
                    finish(cells.read("a"))
        assert proxy.connections == 0


@pytest.mark.parametrize("closing", [True, False])
def test_one_event_loop_after_another(valkey_url: str, closing: bool) -> None:
    backend = RedisBackend.from_url(valkey_url)
    cells = backend.states.cells(Space(space(), IntegersCodec()))

    async def step() -> int:
        async with backend.signals.subscribe("topic"):
            count: int = await cells.transact("a", Count(script=True))
        if closing:
            await backend.__aexit__(None, None, None)
        return count

    assert [asyncio.run(step()) for _ in range(3)] == [1, 2, 3]


def test_event_loops_in_several_threads_share_one_backend(valkey_url: str) -> None:
    backend = RedisBackend.from_url(valkey_url)
    cells = backend.states.cells(Space(space(), IntegersCodec()))
    together = threading.Barrier(8)

    async def steps() -> list[int]:
        together.wait()
        return await asyncio.gather(*(cells.transact("a", Count(script=place % 2 == 0)) for place in range(40)))

    with ThreadPoolExecutor(8) as pool:
        counts = [count for counts in pool.map(lambda _: asyncio.run(steps()), range(8)) for count in counts]
    assert sorted(counts) == list(range(1, 321))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_nothing_is_kept_here_for_a_key(valkey_url: str, runtime: RuntimeName) -> None:
    backend = RedisBackend.from_url(valkey_url, blocking=runtime == "blocking")
    cells = backend.states.cells(Space(space(), IntegersCodec()))

    async def play() -> None:
        async with backend:
            if runtime == "asyncio":
                steps = [cells.transact(f"{place % 20}", Count(script=False)) for place in range(100)]
                await asyncio.gather(*steps)
                await asyncio.sleep(0.01)
            else:
                with ThreadPoolExecutor(8) as pool:
                    step = Count(script=False)
                    list(pool.map(lambda place: finish(cells.transact(f"{place % 20}", step)), range(100)))
            assert backend._resources.here().lines._writers == {}
            assert await cells.read("7") == (5,)

    run(runtime, play)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_forked_child_opens_its_own_connections(valkey_url: str, runtime: RuntimeName) -> None:
    with FaultProxy(valkey_url) as proxy:
        backend = RedisBackend.from_url(proxy.url, blocking=runtime == "blocking")
        cells = backend.states.cells(Space(space(), IntegersCodec()))

        async def step() -> int:
            count: int = await cells.transact("a", Count(script=True))
            return count

        def in_a_child() -> int:
            child = os.fork()
            if child == 0:
                os._exit(run(runtime, step))
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        async def whole() -> None:
            async with backend:
                assert await step() == 1
                if runtime == "blocking":
                    assert in_a_child() == 2
                else:
                    # The child of a running loop inherits its being marked as running.
                    assert await asyncio.to_thread(in_a_child) == 2
                assert await step() == 3
                assert proxy.connections == 2

        run(runtime, whole)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_away_and_back_again_without_a_restart(runtime: RuntimeName) -> None:
    with valkey_process(durable=True) as server:
        url = url_of(server).replace("redis://", "redis://:secret@") + "/0?client_name=me"
        backend = RedisBackend.from_url(url.replace(":secret@", ""), blocking=runtime == "blocking")
        cells = backend.states.cells(Space(space(), IntegersCodec()))

        async def whole() -> None:
            async with backend:
                assert await cells.transact("a", Count(script=True)) == 1
                server.kill()
                if runtime == "asyncio":
                    await asyncio.sleep(0.05)  # the loop has to hear of the end
                for step in (Count(script=True), Count(script=False)):
                    with pytest.raises(BackendUnavailable) as caught:
                        await cells.transact("a", step)
                    line = str(caught.value)
                    assert "\n" not in line
                    assert f"redis://127.0.0.1:{server.port}/0" in line
                    assert "start the server there or correct the URL" in line
                with pytest.raises(BackendUnavailable):
                    await cells.read("a")
                with pytest.raises(BackendUnavailable):
                    await backend.create()
                with pytest.raises(BackendUnavailable):
                    await backend.signals.notify("a")
                with pytest.raises(BackendUnavailable):
                    await backend.signals.subscribe("a").__aenter__()
                server.start()
                assert await cells.transact("a", Count(script=True)) == 2

        run(runtime, whole)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_password_never_shows(runtime: RuntimeName, valkey_url: str) -> None:
    for url in (
        valkey_url.replace("redis://", "redis://me:secret@"),
        valkey_url + "?password=secret",
        "redis://:secret@127.0.0.1:1",
    ):
        backend = RedisBackend.from_url(url, blocking=runtime == "blocking")

        async def whole(backend: RedisBackend = backend) -> None:
            async with backend:
                with pytest.raises(BackendUnavailable) as caught:
                    await backend.create()
                assert "secret" not in str(caught.value)
                assert "***" in str(caught.value)

        run(runtime, whole)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_password_is_used_and_its_absence_told(runtime: RuntimeName) -> None:
    import redis

    with valkey_process() as server, redis.Redis(port=server.port) as admin:
        admin.config_set("requirepass", "secret")

        async def play() -> None:
            for user, words in ((":secret@", ""), ("default:secret@", ""), ("", "Auth"), (":wrong@", "password")):
                url = url_of(server).replace("//", f"//{user}")
                async with RedisBackend.from_url(url, blocking=runtime == "blocking") as backend:
                    cells = backend.states.cells(Space(space(), IntegersCodec()))
                    if not words:
                        await backend.create()
                        assert await cells.transact("a", Count(script=True)) == 1
                        continue
                    with pytest.raises(BackendUnavailable, match=words) as caught:
                        await cells.transact("a", Count(script=True))
                    assert "secret" not in str(caught.value)
                    assert "wrong" not in str(caught.value).split("is away")[0]

        run(runtime, play)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_server_that_takes_connections_and_says_nothing(runtime: RuntimeName) -> None:
    with valkey_process() as server:
        server.pause()
        backend = RedisBackend.from_url(url_of(server), blocking=runtime == "blocking", timeout_s=0.3)

        async def whole() -> None:
            async with backend:
                with pytest.raises(BackendUnavailable):
                    await backend.create()
                server.resume()
                await backend.create()

        run(runtime, whole)


@pytest.mark.parametrize("script", [True, False])
def test_a_thousand_callers_hear_of_an_outage_at_once(script: bool) -> None:
    with valkey_process() as server:
        server.pause()

        async def play() -> None:
            async with RedisBackend.from_url(url_of(server), timeout_s=0.4) as backend:
                cells = backend.states.cells(Space(space(), IntegersCodec()))
                begin = time.monotonic()
                steps = (cells.transact(f"{place}", Count(script=script)) for place in range(3000))
                ends = await asyncio.gather(*steps, return_exceptions=True)
                assert {type(end) for end in ends} == {BackendUnavailable}
                # One after another they would wait for twenty minutes.
                assert time.monotonic() - begin < 60.0
                server.resume()
                assert await cells.transact("a", Count(script=script)) == 1

        asyncio.run(play())


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_server_that_refuses_says_why(runtime: RuntimeName) -> None:
    import redis

    with valkey_process() as server, redis.Redis(port=server.port) as admin:
        backend = RedisBackend.from_url(url_of(server), blocking=runtime == "blocking")
        cells = backend.states.cells(Space(space(), IntegersCodec()))

        async def whole() -> None:
            async with backend:
                await cells.transact("a", Count(script=True))
                await cells.transact("a", Count(script=False))
                admin.config_set("maxmemory", 1)
                for script in (True, False):
                    with pytest.raises(BackendFull, match="maxmemory"):
                        await cells.transact("b", Count(script=script))
                admin.config_set("maxmemory", 0)
                admin.replicaof("127.0.0.1", "1")
                for script in (True, False):
                    with pytest.raises(BackendUnavailable):
                        await cells.transact("b", Count(script=script))
                admin.replicaof("NO", "ONE")
                admin.script_flush()
                assert await cells.transact("b", Count(script=True)) == 1
                assert await cells.transact("b", Count(script=False)) == 2

        run(runtime, whole)


class Broken(Count):
    """Its script has a bug that shows in one cell only."""

    class script:  # noqa: N801 - stands where an instance would
        name = "broken/1"
        source = """return function(states, now, args)
          if args[1] == 'x' then error('a bug') end
          return { '1:7' }, { 'fine' }, { 1000 }, {}
        end"""

        def __init__(self, word: str) -> None:
            self.word = word

        def args(self) -> list[str]:
            return [self.word]

        def answer(self, reply: list[bytes]) -> str:
            return reply[0].decode()

    def __init__(self, word: str) -> None:
        super().__init__(script=False)
        self.script = Broken.script(word)  # type: ignore[assignment,misc]


def test_a_script_with_a_bug_harms_only_its_caller(valkey_url: str) -> None:
    backend = RedisBackend.from_url(valkey_url)
    cells = backend.states.cells(Space(space(), IntegersCodec()))

    async def whole() -> None:
        async with backend:
            words = ["x" if place % 3 == 0 else "y" for place in range(30)]
            steps = (cells.transact(f"{place}", Broken(word)) for place, word in enumerate(words))
            ends = await asyncio.gather(*steps, return_exceptions=True)
            for word, end in zip(words, ends, strict=True):
                if word == "x":
                    assert isinstance(end, BackendError)
                    assert "broken/1" in str(end)
                    assert "a bug" in str(end)
                else:
                    assert end == "fine"

    asyncio.run(whole())


def test_create_tells_a_cluster_from_a_single_server(valkey_url: str, valkey_cluster: str) -> None:
    async def whole() -> None:
        for url, cluster, words in (
            (valkey_url, True, "leave out cluster=True"),
            (valkey_cluster, False, "pass cluster=True"),
        ):
            async with RedisBackend.from_url(url, cluster=cluster) as backend:
                with pytest.raises(BackendUnavailable, match=words):
                    await backend.create()
            async with RedisBackend.from_url(url, cluster=not cluster) as backend:
                await backend.create()

    asyncio.run(whole())


def test_a_database_number_and_a_client_name() -> None:
    """Whatever redis-py's URLs can say holds here too."""
    import redis

    with valkey_process() as server, redis.Redis(port=server.port, db=3) as admin:
        backend = RedisBackend.from_url(f"{url_of(server)}/3?client_name=mine", blocking=True, prefix="mine")
        with backend:
            finish(backend.states.cells(Space("s/1", IntegersCodec())).transact("k{1}/2", Count(script=True)))
            assert admin.keys() == [b"mine:s/1/k%7B1%7D%2F2"]
            assert admin.pttl(admin.keys()[0]) > 60_000
            assert "mine" in {client["name"] for client in admin.client_list()}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_many_connections_look_the_version_of_redis_py_up_at_most_once(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch, runtime: RuntimeName
) -> None:
    """redis-py searches the installed packages for it, which takes a millisecond for each connection."""
    from importlib import metadata

    looked_up: list[str] = []
    found = metadata.version("redis")
    monkeypatch.setattr(metadata, "version", lambda name: looked_up.append(name) or found)
    for _ in range(3):
        server = Server(
            url=valkey_url, blocking=runtime == "blocking", cluster=False, prefix="v", timeout_s=5.0, connections_max=2
        )
        for _ in range(3):
            assert server.connection().driver_info.lib_version == found
    assert len(looked_up) <= 1


def test_a_name_of_the_client_library_in_the_url_is_kept(valkey_url: str) -> None:
    import redis

    backend = RedisBackend.from_url(f"{valkey_url}?lib_name=mine", blocking=True, prefix="named")
    with backend, redis.Redis.from_url(valkey_url) as admin:
        with pytest.warns(DeprecationWarning, match="driver_info"):  # redis-py's newer name for it
            finish(backend.states.cells(Space("s/1", IntegersCodec())).transact("k", Count(script=True)))
        assert "mine" in {client["lib-name"] for client in admin.client_list()}
