"""Redis and Valkey, alone or as a cluster, through redis-py 5 or newer."""

try:
    import redis as _redis  # noqa: F401 - asked for early, so that its absence is one clear line
except ImportError as missing:
    raise ImportError('the Redis backend needs redis-py: pip install "sdpatterns[redis]"') from missing

from sdpatterns.backends.redis.backend import RedisBackend
from sdpatterns.backends.redis.durability import WeakSettingFound
from sdpatterns.backends.redis.queue import RedisQueue
from sdpatterns.backends.redis.signals import RedisSignals
from sdpatterns.backends.redis.states import RedisStates

__all__ = ["RedisBackend", "RedisQueue", "RedisSignals", "RedisStates", "WeakSettingFound"]
