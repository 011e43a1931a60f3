"""etcd 3.4 or newer, through aetcd and gRPC, for asyncio."""

try:
    import aetcd as _aetcd  # noqa: F401 - asked for early, so that its absence is one clear line
except ImportError as missing:
    raise ImportError('the etcd backend needs aetcd: pip install "sdpatterns[etcd]"') from missing

from sdpatterns.backends.etcd.backend import EtcdBackend

__all__ = ["EtcdBackend"]
