"""A server that answers and refuses: each refusal is named as what it is, and is never called an outage."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.errors import BackendError, BackendFull, BackendUnavailable
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.stage import RuntimeName, run
from sdpatterns.testing.valkey import valkey_process
from tests.backends.redis.steps import Count

RUNTIMES: list[RuntimeName] = ["asyncio", "blocking"]
STEPS = (Count(script=True), Count(script=False))


@pytest.fixture(scope="module")
def server() -> Iterator[redis.Redis]:
    """The client of an administrator, on a server of its own."""
    with valkey_process() as process, redis.Redis(port=process.port, decode_responses=True) as admin:
        yield admin


def _as_user(admin: redis.Redis, *rules: str) -> str:
    """The URL of a new user who may do everything but what the rules take away."""
    name = f"u{secrets.token_hex(4)}"
    admin.execute_command("ACL", "SETUSER", name, "on", ">secret", "~*", "&*", "+@all", *rules)
    return f"redis://{name}:secret@127.0.0.1:{admin.get_connection_kwargs()['port']}"


@contextlib.contextmanager
def _set(admin: redis.Redis, name: str, value: Any) -> Iterator[None]:
    before = admin.config_get(name)[name]
    admin.config_set(name, value)
    try:
        yield
    finally:
        admin.config_set(name, before)


async def _refused(backend: RedisBackend, kind: type[BackendError], *words: str) -> None:
    """A step of either kind is refused, in these words and not as an outage."""
    cells = backend.states.cells(Space("refused", IntegersCodec()))
    for step in STEPS:
        with pytest.raises(kind) as caught:
            await cells.transact("a", step)
        assert not [word for word in words if word not in str(caught.value)], caught.value
        assert "is away" not in str(caught.value)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("rule", ["-@dangerous", "-info -config", "-info -hello -config", "-info -hello -ping"])
def test_a_user_who_may_not_ask_for_facts_can_be_used(runtime: RuntimeName, rule: str, server: redis.Redis) -> None:
    backend = RedisBackend.from_url(_as_user(server, *rule.split()), blocking=runtime == "blocking")
    backend.states.relied_on_by("a test")

    async def play() -> None:
        async with backend:
            await backend.create()
            for step in STEPS:
                assert await backend.states.cells(Space(secrets.token_hex(4), IntegersCodec())).transact("a", step) == 1

    run(runtime, play)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("rule", ["-evalsha -eval", "-time", "-set -del", "resetkeys ~other:*", "-get", "-@write"])
def test_a_missing_permission_is_named(runtime: RuntimeName, rule: str, server: redis.Redis) -> None:
    backend = RedisBackend.from_url(_as_user(server, *rule.split()), blocking=runtime == "blocking")

    async def play() -> None:
        async with backend:
            with pytest.raises(BackendUnavailable, match=r"refuses: .*; grant the URL's user EVALSHA"):
                await backend.create()
            await _refused(backend, BackendUnavailable, "refuses", "grant the URL's user")

    run(runtime, play)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_user_without_signals_steps_all_the_same(runtime: RuntimeName, server: redis.Redis) -> None:
    backend = RedisBackend.from_url(_as_user(server, "-publish", "-subscribe"), blocking=runtime == "blocking")

    class Woken(Count):
        def __call__(self, states: Any, now_us: int, /) -> Any:
            after, answer, keep_s, _ = super().__call__(states, now_us)
            return after, answer, keep_s, ("topic",)

    async def play() -> None:
        async with backend:
            cells = backend.states.cells(Space(secrets.token_hex(4), IntegersCodec()))
            assert await cells.transact("a", Woken(script=False)) == 1
            with pytest.raises(BackendUnavailable, match="refuses"):
                await backend.signals.notify("topic")
            with pytest.raises(BackendUnavailable, match="refuses"):
                async with backend.signals.subscribe("topic"):
                    pass

    run(runtime, play)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_server_that_does_not_write_is_named(runtime: RuntimeName, server: redis.Redis) -> None:
    port = server.get_connection_kwargs()["port"]
    backend = RedisBackend.from_url(f"redis://127.0.0.1:{port}", blocking=runtime == "blocking", timeout_s=2.0)

    async def play() -> None:
        async with backend:
            with _set(server, "min-replicas-to-write", 1):
                await _refused(backend, BackendUnavailable, "NOREPLICAS", "min-replicas-to-write")
            server.replicaof("127.0.0.1", "1")
            try:
                await _refused(backend, BackendUnavailable, "name the primary")
                with pytest.raises(BackendUnavailable, match="name the primary"):
                    await backend.create()
            finally:
                server.replicaof("NO", "ONE")
            with _set(server, "maxmemory", 1):
                await _refused(backend, BackendFull, "is full", "maxmemory")
            assert await backend.states.cells(Space(secrets.token_hex(4), IntegersCodec())).transact("a", STEPS[0]) == 1

    run(runtime, play)


def test_a_server_that_cannot_save_is_named() -> None:
    with valkey_process() as process, redis.Redis(port=process.port, decode_responses=True) as admin:
        shutil.rmtree(process.directory)  # no disk to write to any more
        process.directory.mkdir()
        admin.config_set("save", "3600 1")
        admin.bgsave()
        while admin.info("persistence")["rdb_last_bgsave_status"] == "ok":
            admin.time()  # a PING is refused as well by then
        for runtime in RUNTIMES:
            backend = RedisBackend.from_url(f"redis://127.0.0.1:{process.port}", blocking=runtime == "blocking")

            async def play(backend: RedisBackend = backend) -> None:
                async with backend:
                    await _refused(backend, BackendUnavailable, "MISCONF", "make room")

            run(runtime, play)
        admin.execute_command("CONFIG", "SET", "save", "")  # else it would not end before it has saved


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_wrong_password_is_named(runtime: RuntimeName, server: redis.Redis) -> None:
    right = _as_user(server)
    for url in (right.replace("secret", "wrong"), right.replace("//u", "//nobody")):
        backend = RedisBackend.from_url(url, blocking=runtime == "blocking")

        async def play(backend: RedisBackend = backend) -> None:
            async with backend:
                with pytest.raises(BackendUnavailable, match=r"refuses: .*; correct the user and the password"):
                    await backend.create()

        run(runtime, play)
