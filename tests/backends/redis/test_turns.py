"""The turn that a client of Redis takes on a cell after several lost races: for a moment nobody else writes there."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import redis

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.redis.names import cell_name, cell_space, turn_head, turn_name
from sdpatterns.backends.redis.versioned import RedisAttempts
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import finish
from sdpatterns.core.step import Step, unchanged
from sdpatterns.ports.engine.execute import Races
from sdpatterns.ports.engine.steps import PendingStep
from sdpatterns.ports.engine.versioned import Conflict
from sdpatterns.ports.states import Space

SPACE: Space[tuple[int, ...]] = Space("turns", IntegersCodec())


class Add:
    """Adds one. `meddled` is called before it answers, as by a client that is faster."""

    repeats = "unsafe"
    script = None

    def __init__(self, meddled: Any = bool) -> None:
        self._meddled = meddled

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Step[Any, int]:
        self._meddled()
        [before] = states[0] or (0,)
        return [(before + 1,)], before, [60.0], ()


class Ask(Add):
    """Writes nothing."""

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Step[Any, Any]:
        return unchanged(states[0])


class Client:
    """A client of its own, on the one cell of the test."""

    def __init__(self, url: str, prefix: str) -> None:
        self.backend = RedisBackend.from_url(url, blocking=True, prefix=prefix)
        self.cell = cell_name(cell_space(prefix, SPACE.name, None), "a")
        self.turn = turn_name(turn_head(prefix), self.cell)
        self._attempts = RedisAttempts(self.backend._resources)

    def attempt(self, transition: Any, races: Races) -> Conflict | None:
        step = PendingStep(SPACE, ("a",), transition)
        step.names = (self.cell,)
        conflict: Conflict | None = finish(self._attempts.attempt([step], races))
        if conflict is not None:
            races.lose(conflict)
        return conflict

    def value(self) -> Any:
        return finish(self.backend.states.cells(SPACE).read("a"))


@pytest.fixture
def clients(valkey_url: str) -> Iterator[tuple[Client, Client]]:
    prefix = f"t{secrets.token_hex(4)}"
    one, other = Client(valkey_url, prefix), Client(valkey_url, prefix)
    with one.backend, other.backend:
        yield one, other


def in_turn(client: Client, faster: Client) -> Races:
    """The races of a client that has just lost another one, and has the turn now."""
    races = Races(in_turn=True)
    assert client.attempt(Add(lambda: faster.attempt(Add(), Races())), races) is not None
    assert races.has_turn
    return races


def test_a_client_in_its_turn_wins_against_all_others(clients: tuple[Client, Client], valkey_url: str) -> None:
    one, other = clients
    races = in_turn(one, other)
    for _ in range(3):
        assert other.attempt(Add(), Races()) is not None, "it is not the other's turn"
    assert one.value() == (1,)
    with redis.Redis.from_url(valkey_url) as admin:
        assert 0 < admin.pttl(one.turn) <= 500, "it ends by itself where the client dies"
    # Nothing was written in between, so that what the lost race found is enough: one command.
    assert one.attempt(Add(), races) is None
    assert other.attempt(Add(), Races()) is None
    assert other.value() == (3,)


def test_a_turn_ends_with_the_write(clients: tuple[Client, Client], valkey_url: str) -> None:
    one, other = clients
    assert one.attempt(Add(), in_turn(one, other)) is None
    with redis.Redis.from_url(valkey_url) as admin:
        assert admin.exists(one.turn) == 0


def test_a_turn_in_which_there_is_nothing_to_write_is_given_back(
    clients: tuple[Client, Client], valkey_url: str
) -> None:
    one, other = clients
    assert one.attempt(Ask(), in_turn(one, other)) is None
    with redis.Redis.from_url(valkey_url) as admin:
        assert admin.exists(one.turn) == 0


def test_two_clients_do_not_have_the_turn_at_once(clients: tuple[Client, Client]) -> None:
    one, other = clients
    races = in_turn(one, other)
    rival = Races(in_turn=True)
    assert other.attempt(Add(), rival) is not None
    assert not rival.has_turn
    assert one.attempt(Add(), races) is None
    assert other.attempt(Add(), rival) is not None, "what it had read is not what stands there now"
    assert other.attempt(Add(), rival) is None
    assert one.value() == (3,)
