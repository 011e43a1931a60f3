"""The contracts under trio, with blocking clients and a worker thread for each step; on SQLite in long runs."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import pytest

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.backends.trio import InThreads, QueueInThreads, SignalsInThreads
from sdpatterns.core.runtime import finish
from sdpatterns.ports.queue import QueueSettings
from sdpatterns.testing.contracts import (
    BackendContract,
    BackendUnderTest,
    MessageQueueContract,
    SignalBusContract,
    StateStoreContract,
)
from tests.contracts.brief import BriefQueueContract
from tests.contracts.test_memory import ShiftedBackend


class Threaded:
    """A blocking backend as a trio program holds it."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside
        self.states = InThreads(inside.states)
        self.signals = SignalsInThreads(inside.signals)

    def queue(self, name: str, /, settings: QueueSettings | None = None) -> QueueInThreads:
        settings = QueueSettings() if settings is None else settings
        return QueueInThreads(self.inside.queue(name, settings))

    async def create(self) -> None:
        finish(self.inside.create())

    async def __aenter__(self) -> Self:
        self.inside.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inside.__exit__(kind, error, trace)


class UnderTrio(BackendContract):
    runtime = "trio"

    def shift(self, backend: BackendUnderTest, seconds: float, /) -> None:
        cast("Threaded", backend).inside.shift(seconds)


class OnValkey(UnderTrio):
    @pytest.fixture(autouse=True)
    def _server(self, valkey_url: str) -> None:
        self.url = valkey_url

    def build(self) -> BackendUnderTest:
        return Threaded(RedisBackend.from_url(self.url, blocking=True))


class OnSQLite(UnderTrio):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.url = f"sqlite:///{tmp_path}/cells.db"

    def build(self) -> BackendUnderTest:
        return Threaded(SQLBackend.from_url(self.url))


class PlainMemory(ShiftedBackend):
    def shift(self, seconds: float) -> None:
        self.clock.step(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class InMemory(UnderTrio):
    def build(self) -> BackendUnderTest:
        return Threaded(PlainMemory())


class TestStatesOnValkey(OnValkey, StateStoreContract):
    pass


@pytest.mark.long
class TestStatesOnSQLite(OnSQLite, StateStoreContract):
    pass


class TestSignalsOnValkey(OnValkey, SignalBusContract):
    pass


@pytest.mark.long
class TestSignalsOnSQLite(OnSQLite, SignalBusContract):
    pass


class TestQueuesInMemory(InMemory, MessageQueueContract):
    pass


class TestQueuesOnValkey(OnValkey, BriefQueueContract):
    pass


@pytest.mark.long
class TestEveryPromiseOfQueuesOnValkey(OnValkey, MessageQueueContract):
    pass


@pytest.mark.long
class TestQueuesOnSQLite(OnSQLite, MessageQueueContract):
    pass
