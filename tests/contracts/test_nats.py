"""The contracts on NATS."""

from __future__ import annotations

import pytest

from sdpatterns.backends.nats import NatsBackend
from sdpatterns.testing.contracts import (
    BackendUnderTest,
    CancelledLogContract,
    CancelledSignalsContract,
    CancelledStatesContract,
    EventLogContract,
    PreciseSignalsContract,
    SharedLogContract,
    SharedSignalsContract,
    SignalBusContract,
    StateStoreContract,
    StoredStatesContract,
)
from tests.backends.everywhere import PATIENCE_S


class OnNats:
    runtime = "asyncio"

    @pytest.fixture(autouse=True)
    def _server(self, nats_url: str) -> None:
        self.url = nats_url

    def build(self) -> BackendUnderTest:
        return NatsBackend(self.url, timeout_s=PATIENCE_S)


class TestNatsStates(OnNats, StateStoreContract, CancelledStatesContract, StoredStatesContract):
    pass


class TestNatsSignals(
    OnNats, SignalBusContract, CancelledSignalsContract, SharedSignalsContract, PreciseSignalsContract
):
    pass


class TestNatsLogs(OnNats, EventLogContract, CancelledLogContract, SharedLogContract):
    pass
