"""The circuits of a breaker by key, a bounded number of them.

A key that was not used for `idle_s` starts again from zero, whether or not its circuit was dropped meanwhile;
so dropping it loses nothing. Two circuits are looked at for each new key, oldest first, so that no
call pays for all of them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

from sdpatterns.core.forks import new_lock, take_locks_of
from sdpatterns.core.keys import check_key
from sdpatterns.resilience.breaker.config import BreakerConfig
from sdpatterns.resilience.breaker.decision import Circuit

__all__ = ["Circuits"]

_LOOKS = 2


class Circuits:
    """See the module. Safe for any number of threads."""

    def __init__(self, config: BreakerConfig, random: Callable[[], float], keys_max: int, idle_s: float) -> None:
        self._config = config
        self._random = random
        self._keys_max = keys_max
        self._idle_s = idle_s
        self._lock = new_lock()
        self._by_key: OrderedDict[str, Circuit] = OrderedDict()
        self._shared: Circuit | None = None
        self.keyless = Circuit(config, random)
        take_locks_of(self)

    def locks(self) -> Iterable[threading.Lock]:
        """Those of its circuits: see `LockOwner`."""
        circuits = (self.keyless, self._shared, *self._by_key.values())
        return [circuit.lock for circuit in circuits if circuit is not None]

    def __len__(self) -> int:
        return len(self._by_key)

    def keys(self) -> list[str]:
        """The keys that have a circuit just now."""
        with self._lock:
            return list(self._by_key)

    def peek(self, key: str) -> Circuit:
        """The circuit that a call with this key would meet, without using it; a fresh one if there is none."""
        shared = self._shared if len(self._by_key) >= self._keys_max else None
        return self._by_key.get(key) or shared or Circuit(self._config, self._random, key)

    def own(self, key: str, now_s: float) -> Circuit:
        """A circuit for this key alone, also beyond the bound: a person is about to set it."""
        with self._lock:
            circuit = self._by_key.get(key)
            if circuit is None or self._is_idle(circuit, now_s):
                circuit = self._by_key[key] = Circuit(self._config, self._random, key)
            circuit.used_s = now_s
            return circuit

    def of(self, key: str, now_s: float) -> tuple[Circuit, bool]:
        """The circuit of this key; True where it is the one shared by all keys beyond the bound."""
        circuit = self._by_key.get(key)
        if circuit is not None and now_s - circuit.used_s < self._idle_s:
            circuit.used_s = now_s
            return circuit, False
        with self._lock:
            circuit = self._kept_or_new(key, now_s)
            circuit.used_s = now_s
            return circuit, circuit is self._shared

    def _kept_or_new(self, key: str, now_s: float) -> Circuit:
        circuit = self._by_key.get(key)
        if circuit is not None and not self._is_idle(circuit, now_s):
            return circuit
        if circuit is None:
            check_key(key)
            self._sweep(now_s)
            if len(self._by_key) >= self._keys_max:
                return self._overflow(now_s)
        circuit = self._by_key[key] = Circuit(self._config, self._random, key)
        return circuit

    def _overflow(self, now_s: float) -> Circuit:
        if self._shared is None or self._is_idle(self._shared, now_s):
            self._shared = Circuit(self._config, self._random)
        return self._shared

    def _is_idle(self, circuit: Circuit, now_s: float) -> bool:
        return now_s - circuit.used_s >= self._idle_s and circuit.is_forgettable(now_s)

    def _sweep(self, now_s: float) -> None:
        for _ in range(min(_LOOKS, len(self._by_key))):
            key, circuit = next(iter(self._by_key.items()))
            if self._is_idle(circuit, now_s):
                del self._by_key[key]
            else:
                self._by_key.move_to_end(key)
