"""The contracts themselves: each is seen to fail on a store that breaks the promise it is about."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import pytest

from sdpatterns.backends.memory import MemorySignals
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.ports.timekeeping import SERVER, Skewed
from sdpatterns.testing.contracts import (
    BackendContract,
    CancelledStatesContract,
    PreciseSignalsContract,
    SignalBusContract,
    StateStoreContract,
    StoredStatesContract,
)


class Cells:
    """A naive store: a dictionary, and every promise as one line that a subclass may break."""

    def __init__(self, store: States, space: Any) -> None:
        self.store, self.space, self.codec = store, space.name, space.codec

    def at(self, key: str) -> str:
        return f"{len(self.space)} {self.space} {key}"

    def load(self, key: str) -> Any:
        data = self.store.data.get(self.at(key))
        return None if data is None else self.codec.decode(data)

    def dump(self, key: str, state: Any) -> None:
        if state is GONE:
            self.store.data.pop(self.at(key), None)
        elif state is not UNCHANGED:
            self.store.data[self.at(key)] = self.codec.encode(state)

    def check(self, keys: Sequence[str]) -> None:
        if len(set(keys)) != len(keys):
            raise ValueError("one step needs different keys")

    async def transact(self, key: str, transition: Any, /) -> Any:
        with self.store.lock:
            (after,), answer, _, wake = transition([self.load(key)], self.store.now_us())
            self.dump(key, after)
        self.store.signals.wake(wake)
        return answer

    async def transact_many(self, keys: Sequence[str], transition: Any, /) -> Any:
        self.check(keys)
        with self.store.lock:
            after, answer, _, wake = transition([self.load(key) for key in keys], self.store.now_us())
            for key, state in list(zip(keys, after, strict=True)):
                self.dump(key, state)
        self.store.signals.wake(wake)
        return answer

    async def read(self, key: str, /) -> Any:
        return self.load(key)

    async def read_many(self, keys: Sequence[str], /) -> list[Any]:
        return [self.load(key) for key in keys]

    async def delete(self, key: str, /) -> None:
        self.store.data.pop(self.at(key), None)


class States:
    runtime = None
    clock = SERVER
    kind = Cells

    def __init__(self, signals: MemorySignals, data: dict[str, bytes]) -> None:
        self.signals, self.data = signals, data
        self.lock = threading.RLock()
        self.shift_us = 0
        self.last_us = 0

    def now_us(self) -> int:
        self.last_us = max(self.last_us, SYSTEM.now_us() + self.shift_us)
        return self.last_us

    def cells(self, space: Any, /) -> Any:
        return self.kind(self, space)


class NaiveBackend:
    states_kind: type[States] = States
    signals_kind: type[MemorySignals] = MemorySignals

    def __init__(self) -> None:
        self.signals = self.signals_kind()
        self.states: Any = self.states_kind(self.signals, {})

    async def create(self) -> None:
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def shift(self, seconds: float) -> None:
        self.states.shift_us += int(seconds * 1_000_000)


def complaint(contract: type[BackendContract], name: str, backend: Callable[[], Any]) -> str:
    """What one scene of a contract says of a backend; nothing when it is content."""
    shared = backend()
    subject = type("Subject", (contract,), {"build": lambda _: shared})()
    try:
        getattr(subject, name)()
    except (AssertionError, pytest.fail.Exception) as found:
        return repr(found)
    return ""


def scenes(contract: type[BackendContract]) -> list[str]:
    return [name for name in dir(contract) if name.startswith("test_")]


SOUND = [StateStoreContract, CancelledStatesContract, SignalBusContract, PreciseSignalsContract, StoredStatesContract]


@pytest.mark.parametrize(("contract", "name"), [(contract, name) for contract in SOUND for name in scenes(contract)])
def test_a_naive_sound_backend_passes(contract: type[BackendContract], name: str) -> None:
    assert complaint(contract, name, NaiveBackend) == ""


def cells(**methods: Any) -> Callable[[], Any]:
    kind = type("BrokenCells", (Cells,), methods)
    states = type("BrokenStates", (States,), {"kind": kind})
    return type("BrokenBackend", (NaiveBackend,), {"states_kind": states})


def states(**methods: Any) -> Callable[[], Any]:
    return type("BrokenBackend", (NaiveBackend,), {"states_kind": type("BrokenStates", (States,), methods)})


def signals(**methods: Any) -> Callable[[], Any]:
    return type("BrokenBackend", (NaiveBackend,), {"signals_kind": type("BrokenSignals", (MemorySignals,), methods)})


async def _half(self: Any, keys: Any, transition: Any) -> Any:
    self.check(keys)
    after, answer, _, _ = transition([self.load(key) for key in keys], self.store.now_us())
    for key, state in zip(keys, after, strict=False):
        self.dump(key, state)
    return answer


async def _torn(self: Any, key: str, transition: Any) -> Any:
    (after,), answer, _, wake = transition([self.load(key)], self.store.now_us())
    await asyncio.sleep(0)
    self.dump(key, after)
    self.store.signals.wake(wake)
    return answer


async def _early(self: Any, key: str, transition: Any) -> Any:
    (after,), answer, _, wake = transition([self.load(key)], self.store.now_us())
    self.store.signals.wake(wake)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    self.dump(key, after)
    return answer


async def _eager(self: Any, key: str, transition: Any) -> Any:
    (after,), answer, _, wake = transition([self.load(key)], self.store.now_us())
    self.dump(key, (0,) if after is UNCHANGED else after)
    self.store.signals.wake(wake)
    return answer


async def _all_keys_reversed(self: Any, keys: Any) -> list[Any]:
    return [self.load(key) for key in reversed(keys)]


async def _no_delete(self: Any, key: str) -> None:
    return None


async def _overwriting(self: Any, key: str, transition: Any) -> Any:
    try:
        state = self.load(key)
    except Exception:  # noqa: BLE001 - the bug
        state = None
    (after,), answer, _, _ = transition([state], self.store.now_us())
    self.dump(key, after)
    return answer


async def _dropped(self: Any, *topics: str) -> None:
    return None


def _first_only(self: Any, topics: Any) -> None:
    MemorySignals.wake(self, list(topics)[:1])


def _floats(self: Any, key: str) -> Any:
    state = Cells.load(self, key)
    return None if state is None else tuple(map(float, state))


def _gone_stays(self: Any, key: str, state: Any) -> None:
    Cells.dump(self, key, UNCHANGED if state is GONE else state)


def _wall_clock(self: Any) -> int:
    return int(time.time() * 1e6) + int(self.shift_us)


def _two_clocks(self: Any) -> int:
    self.reads = not getattr(self, "reads", False)
    return SYSTEM.now_us() + 5_000_000 * self.reads


def _wake_everybody(self: Any, topics: Any) -> None:
    MemorySignals.wake(self, list(self._waiters))


def _wake_nobody(self: Any, topics: Any) -> None:
    return None


BUGS: dict[str, tuple[type[BackendContract], str, Callable[[], Any]]] = {
    "half a step written": (StateStoreContract, "cannot_be_written", cells(transact_many=_half)),
    "a step torn apart": (StateStoreContract, "at_once_on_one_cell", cells(transact=_torn)),
    "a step torn apart, cancelled": (CancelledStatesContract, "some_callers_harms", cells(transact=_torn)),
    "woken before the write": (StateStoreContract, "a_wake_is_heard_once", cells(transact=_early)),
    "unchanged is written": (StateStoreContract, "has_no_state", cells(transact=_eager)),
    "gone stays": (StateStoreContract, "gone_drops", cells(dump=_gone_stays)),
    "nothing is written": (StateStoreContract, "each_step_sees", cells(dump=lambda self, key, state: None)),
    "out of order": (StateStoreContract, "in_the_order_that_was_asked", cells(read_many=_all_keys_reversed)),
    "delete does nothing": (StateStoreContract, "delete_forgets", cells(delete=_no_delete)),
    "one key twice": (StateStoreContract, "one_key_twice", cells(check=lambda self, keys: None)),
    "spaces run into keys": (
        StateStoreContract,
        "different_spaces",
        cells(at=lambda self, key: self.space + "/" + key),
    ),
    "keys without case": (StateStoreContract, "any_text_of_up_to", cells(at=lambda self, key: key.lower())),
    "keys cut off": (StateStoreContract, "any_text_of_up_to", cells(at=lambda self, key: key[:1000])),
    "floats for numbers": (StateStoreContract, "of_any_size", cells(load=_floats)),
    "no empty bytes": (
        StateStoreContract,
        "they_look_like",
        cells(load=lambda self, key: Cells.load(self, key) or None),
    ),
    "time goes back": (StateStoreContract, "never_goes_back_for", states(now_us=_wall_clock)),
    "time in seconds": (StateStoreContract, "since_1970", states(now_us=lambda self: 1_700_000_000)),
    "time stands still": (StateStoreContract, "judged_by_the_time", states(now_us=lambda self: 1_700_000_000_000_000)),
    "no word on the clock": (StateStoreContract, "whose_clock", states(clock=None)),
    "two clocks": (StoredStatesContract, "disagree_on_the_time", states(now_us=_two_clocks)),
    "two clocks too far apart": (
        StoredStatesContract,
        "disagree_on_the_time",
        states(now_us=_two_clocks, clock=Skewed(4.9)),
    ),
    "a newer version overwritten": (StoredStatesContract, "newer_version_is_refused", cells(transact=_overwriting)),
    "forged bytes overwritten": (StoredStatesContract, "no_state_are_refused", cells(transact=_overwriting)),
    "notifications dropped": (SignalBusContract, "wakes_a_subscriber", signals(notify=_dropped, wake=_wake_nobody)),
    "only the first topic": (SignalBusContract, "notified_at_once", signals(wake=_first_only)),
    "everybody is woken": (PreciseSignalsContract, "other_topics", signals(wake=_wake_everybody)),
}


LONGEST_COMPLAINT = 1500


@pytest.mark.parametrize(("contract", "part", "backend"), BUGS.values(), ids=BUGS)
def test_a_broken_backend_fails(
    contract: type[BackendContract], part: str, backend: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdpatterns.testing.contracts import signals as signal_scenes
    from sdpatterns.testing.contracts import states as state_scenes

    monkeypatch.setattr(signal_scenes, "_LONG_S", 0.3)
    monkeypatch.setattr(state_scenes, "HEARD_WITHIN_S", 0.3)
    (name,) = [name for name in scenes(contract) if part in name]
    said = complaint(contract, name, backend)
    assert said != ""
    assert len(said) < LONGEST_COMPLAINT, "a list that pytest compares item by item takes minutes"


def test_a_contract_needs_a_backend() -> None:
    with pytest.raises(NotImplementedError):
        StateStoreContract().test_gone_drops_the_cell()
