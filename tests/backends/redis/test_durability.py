"""One warning where a pattern relies on a server that may lose what it has answered."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
import redis
import trio

from sdpatterns import Idempotency, Quota, RateLimiter, per_second
from sdpatterns.backends.redis import RedisBackend, WeakSettingFound
from sdpatterns.backends.redis.resources import RedisResources
from sdpatterns.backends.redis.sender import Sender
from sdpatterns.backends.redis.server import Server
from sdpatterns.backends.trio import InThreads
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.notices import listen
from sdpatterns.core.runtime import finish
from sdpatterns.ports.states import Space, rely_on
from sdpatterns.testing.contracts.stage import RuntimeName, run
from sdpatterns.testing.processes import ServerProcess
from sdpatterns.testing.valkey import valkey_process
from sdpatterns.traffic.quota import daily
from tests.backends.redis.steps import Count

pytestmark = pytest.mark.usefixtures("_heard")

ASYNCIO_AND_THREADS: list[RuntimeName] = ["asyncio", "blocking"]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """A server of our own, because its settings are changed."""
    with valkey_process() as process:
        yield process


@pytest.fixture
def url(server: ServerProcess) -> str:
    return f"redis://127.0.0.1:{server.port}"


def set_to(server: ServerProcess, **settings: str) -> None:
    with redis.Redis(port=server.port) as client:
        for name, value in settings.items():
            client.config_set(name, value)


@pytest.fixture
def _heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING, "sdpatterns.backends.redis"):
        yield


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "sdpatterns.backends.redis"]


@dataclasses.dataclass(frozen=True)
class Settings:
    appendonly: str
    appendfsync: str
    weak: str | None
    loss: str = ""


SETTINGS = [
    Settings("no", "always", "appendonly no", "a restart of the server loses all"),
    Settings("yes", "everysec", "appendfsync everysec", "the last second"),
    Settings("yes", "no", "appendfsync no", "the last half minute"),
    Settings("yes", "always", None),
]


async def pay(order: str) -> str:
    return f"paid {order}"


def idempotency(backend: RedisBackend) -> Callable[[], Awaitable[Any]]:
    till = Idempotency("till", store=backend.states)
    return lambda: till.call("k", pay, "o1")


def quota(backend: RedisBackend) -> Callable[[], Awaitable[Any]]:
    calls = Quota("calls", daily(1_000_000), store=backend.states)
    return lambda: calls.acquire("k")


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: str(settings.weak))
@pytest.mark.parametrize("runtime", ASYNCIO_AND_THREADS)
@pytest.mark.parametrize(("uses", "who"), [(idempotency, "Idempotency 'till'"), (quota, "Quota 'calls'")])
def test_first_use_warns_once_of_what_a_crash_would_lose(
    server: ServerProcess, url: str, caplog: pytest.LogCaptureFixture, settings: Settings, runtime: RuntimeName,
    uses: Callable[[RedisBackend], Callable[[], Awaitable[Any]]], who: str,
) -> None:  # fmt: skip
    set_to(server, appendonly=settings.appendonly, appendfsync=settings.appendfsync)
    backend = RedisBackend.from_url(url, blocking=runtime == "blocking")
    use, heard = uses(backend), []

    async def play() -> None:
        async with backend:
            for _ in range(3):
                await use()

    with listen(heard.append):
        run(runtime, play)
    found = [notice for notice in heard if isinstance(notice, WeakSettingFound)]
    if settings.weak is None:
        assert (found, warnings(caplog)) == ([], [])
        return
    assert found == [WeakSettingFound(name=url, setting=settings.weak, relied_on_by=who)]
    assert found[0].labels() == {"name": url, "setting": settings.weak}
    [line] = warnings(caplog)
    assert line.startswith(f"{who} relies on {url}, which has {settings.weak}: ")
    assert settings.loss in line
    assert "warns_of_loss=False" in line


@pytest.mark.parametrize("runtime", ASYNCIO_AND_THREADS)
def test_create_warns_before_the_first_use(
    server: ServerProcess, url: str, caplog: pytest.LogCaptureFixture, runtime: RuntimeName
) -> None:
    set_to(server, appendonly="no")
    backend = RedisBackend.from_url(url, blocking=runtime == "blocking")
    use = idempotency(backend)
    seen: list[int] = []

    async def play() -> None:
        async with backend:
            await backend.create()
            seen.append(len(warnings(caplog)))
            await use()

    run(runtime, play)
    assert (seen, len(warnings(caplog))) == ([1], 1)


def test_nobody_is_warned_who_relies_on_nothing_or_has_said_that_it_is_meant(
    server: ServerProcess, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    set_to(server, appendonly="no")

    async def play() -> None:
        async with RedisBackend.from_url(url) as backend:
            await backend.create()
            assert (await RateLimiter("api", per_second(10), store=backend.states).acquire("k")).allowed
        async with RedisBackend.from_url(url, warns_of_loss=False) as backend:
            use = idempotency(backend)
            await backend.create()
            await use()

    asyncio.run(play())
    assert warnings(caplog) == []


@pytest.mark.parametrize("runtime", ASYNCIO_AND_THREADS)
def test_a_server_that_does_not_say_is_left_in_peace(
    server: ServerProcess, url: str, caplog: pytest.LogCaptureFixture, runtime: RuntimeName
) -> None:
    """Managed servers forbid CONFIG; nothing fails for it, and nobody is warned of what nobody knows."""
    set_to(server, appendonly="no")
    with redis.Redis(port=server.port) as client:
        client.execute_command("ACL", "SETUSER", "tenant", "on", ">word", "~*", "&*", "+@all", "-config")
        with pytest.raises(redis.exceptions.NoPermissionError):
            redis.Redis(port=server.port, username="tenant", password="word").config_get("append*")
        client.config_resetstat()
        backend = RedisBackend.from_url(f"redis://tenant:word@127.0.0.1:{server.port}", blocking=runtime == "blocking")
        use = idempotency(backend)

        async def play() -> None:
            async with backend:
                for _ in range(3):
                    assert await use() == "paid o1"

        run(runtime, play)
        asked = client.info("commandstats")["cmdstat_config|get"]
    assert (asked["rejected_calls"], warnings(caplog)) == (1, []), "asked once, and told nothing"


def test_from_trio_too(server: ServerProcess, url: str, caplog: pytest.LogCaptureFixture) -> None:
    set_to(server, appendonly="no")
    till = Idempotency("till", store=InThreads(RedisBackend.from_url(url, blocking=True).states))
    assert trio.run(till.call, "trio", pay, "o1") == "paid o1"
    assert len(warnings(caplog)) == 1


def test_a_step_without_a_script_is_a_first_use_too(
    server: ServerProcess, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    set_to(server, appendonly="no")

    async def play() -> None:
        async with RedisBackend.from_url(url) as backend:
            rely_on(backend.states, "Ledger 'books'")
            await backend.states.cells(Space("books", IntegersCodec())).transact("a", Count(script=False))

    asyncio.run(play())
    [line] = warnings(caplog)
    assert line.startswith("Ledger 'books' relies on")


def test_a_second_pattern_gets_no_second_warning(
    server: ServerProcess, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    set_to(server, appendonly="no")
    resources = RedisResources(
        Server(url=url, blocking=True, cluster=False, prefix="sdp", timeout_s=5.0, connections_max=2)
    )
    resources.durability.relied_on_by("Ledger 'books'")
    for _ in range(2):
        finish(resources.durability.ask(resources.here().seed))
    finish(resources.close())
    assert len(warnings(caplog)) == 1


def test_a_question_that_is_cancelled_is_asked_again(
    server: ServerProcess, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    set_to(server, appendonly="no")

    class NoAnswer:
        async def call(self, *_: bytes) -> Any:
            await asyncio.Event().wait()

    async def play() -> None:
        backend = RedisBackend.from_url(url)
        resources = backend._resources
        use = quota(backend)
        async with backend:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(resources.durability.ask(cast("Sender", NoAnswer())), 0.01)
            assert warnings(caplog) == []
            await use()

    asyncio.run(play())
    assert len(warnings(caplog)) == 1


def test_threads_that_begin_at_once_are_warned_once(
    server: ServerProcess, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    set_to(server, appendonly="no")
    backend = RedisBackend.from_url(url, blocking=True)
    use = quota(backend)
    with backend, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: finish(use()), range(64)))  # type: ignore[arg-type]
    assert len(warnings(caplog)) == 1
