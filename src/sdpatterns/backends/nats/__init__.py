"""NATS JetStream, server 2.12 or newer, through nats-py, for asyncio."""

try:
    import nats as _nats  # noqa: F401 - asked for early, so that its absence is one clear line
except ImportError as missing:
    raise ImportError('the NATS backend needs nats-py: pip install "sdpatterns[nats]"') from missing

from sdpatterns.backends.nats.backend import NatsBackend

__all__ = ["NatsBackend"]
