"""The contracts on Valkey: one server and a cluster of three nodes, in a loop and in eight threads."""

from __future__ import annotations

from typing import ClassVar

import pytest

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.testing.contracts import (
    BackendContract,
    BackendUnderTest,
    CancelledLogContract,
    CancelledQueueContract,
    CancelledSignalsContract,
    CancelledStatesContract,
    EventLogContract,
    MessageQueueContract,
    PreciseSignalsContract,
    SharedLogContract,
    SharedQueueContract,
    SharedSignalsContract,
    SignalBusContract,
    StateStoreContract,
    StoredStatesContract,
)
from tests.contracts.brief import BriefQueueContract


class OnValkey(BackendContract):
    cluster: ClassVar[bool] = False
    url: str

    @pytest.fixture(autouse=True)
    def _server(self, valkey_url: str) -> None:
        self.url = valkey_url

    def build(self) -> BackendUnderTest:
        blocking = self.runtime == "blocking"
        return RedisBackend.from_url(self.url, blocking=blocking, cluster=self.cluster, timeout_s=60.0)


class OnCluster(OnValkey):
    cluster = True

    @pytest.fixture(autouse=True)
    def _server(self, valkey_cluster: str) -> None:
        self.url = valkey_cluster


class TestStatesUnderAsyncio(OnValkey, StateStoreContract, CancelledStatesContract, StoredStatesContract):
    runtime = "asyncio"


class TestStatesInThreads(OnValkey, StateStoreContract, StoredStatesContract):
    runtime = "blocking"


class TestClusterStatesUnderAsyncio(OnCluster, StateStoreContract, CancelledStatesContract, StoredStatesContract):
    runtime = "asyncio"


@pytest.mark.long
class TestClusterStatesInThreads(OnCluster, StateStoreContract, StoredStatesContract):
    runtime = "blocking"


class TestSignalsUnderAsyncio(
    OnValkey, SignalBusContract, CancelledSignalsContract, SharedSignalsContract, PreciseSignalsContract
):
    runtime = "asyncio"


class TestSignalsInThreads(OnValkey, SignalBusContract, SharedSignalsContract, PreciseSignalsContract):
    runtime = "blocking"


class TestClusterSignalsUnderAsyncio(
    OnCluster, SignalBusContract, CancelledSignalsContract, SharedSignalsContract, PreciseSignalsContract
):
    runtime = "asyncio"


@pytest.mark.long
class TestClusterSignalsInThreads(OnCluster, SignalBusContract, SharedSignalsContract, PreciseSignalsContract):
    runtime = "blocking"


class TestQueuesUnderAsyncio(OnValkey, MessageQueueContract, CancelledQueueContract, SharedQueueContract):
    runtime = "asyncio"


class TestQueuesInThreads(OnValkey, BriefQueueContract):
    runtime = "blocking"


@pytest.mark.long
class TestEveryPromiseOfQueuesInThreads(OnValkey, MessageQueueContract, SharedQueueContract):
    runtime = "blocking"


class TestClusterQueuesUnderAsyncio(OnCluster, MessageQueueContract, CancelledQueueContract, SharedQueueContract):
    runtime = "asyncio"


@pytest.mark.long
class TestClusterQueuesInThreads(OnCluster, MessageQueueContract, SharedQueueContract):
    runtime = "blocking"


class TestLogsUnderAsyncio(OnValkey, EventLogContract, CancelledLogContract, SharedLogContract):
    runtime = "asyncio"


class TestLogsInThreads(OnValkey, EventLogContract, SharedLogContract):
    runtime = "blocking"


class TestClusterLogsUnderAsyncio(OnCluster, EventLogContract, CancelledLogContract, SharedLogContract):
    runtime = "asyncio"
