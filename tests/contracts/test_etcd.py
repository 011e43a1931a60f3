"""The contracts on etcd."""

from __future__ import annotations

import pytest

from sdpatterns.backends.etcd import EtcdBackend
from sdpatterns.testing.contracts import (
    BackendUnderTest,
    CancelledSignalsContract,
    CancelledStatesContract,
    PreciseSignalsContract,
    SharedSignalsContract,
    SignalBusContract,
    StateStoreContract,
    StoredStatesContract,
)
from tests.backends.everywhere import PATIENCE_S


class OnEtcd:
    runtime = "asyncio"

    @pytest.fixture(autouse=True)
    def _server(self, etcd_url: str) -> None:
        self.url = etcd_url

    def build(self) -> BackendUnderTest:
        return EtcdBackend(self.url, timeout_s=PATIENCE_S)


class TestEtcdStates(OnEtcd, StateStoreContract, CancelledStatesContract, StoredStatesContract):
    pass


class TestEtcdSignals(
    OnEtcd, SignalBusContract, CancelledSignalsContract, SharedSignalsContract, PreciseSignalsContract
):
    pass
