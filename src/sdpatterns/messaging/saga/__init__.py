"""Sagas: several steps on several services that are all done, or undone again."""

from sdpatterns.messaging.saga.config import SagaConfig
from sdpatterns.messaging.saga.handle import SagaHandle
from sdpatterns.messaging.saga.journal import Journal, RunStatus
from sdpatterns.messaging.saga.run import SagaRun, SagaStep, current_step
from sdpatterns.messaging.saga.sagas import Saga, SagaBackend, Sagas
from sdpatterns.messaging.saga.table import SagaTable, TableStep
from sdpatterns.messaging.saga.worker import SagaWorker

__all__ = [
    "Journal",
    "RunStatus",
    "Saga",
    "SagaBackend",
    "SagaConfig",
    "SagaHandle",
    "SagaRun",
    "SagaStep",
    "SagaTable",
    "SagaWorker",
    "Sagas",
    "TableStep",
    "current_step",
]
