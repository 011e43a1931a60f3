"""What every policy and guard gives: protect, call, by, guard."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sdpatterns.core.guard import Guard
from sdpatterns.core.outcome import Outcome
from sdpatterns.core.policy import Keyed, Policy, is_async
from sdpatterns.core.runtime import BLOCKING, Runtime
from sdpatterns.errors import Rejected

pytestmark = pytest.mark.anyio


class Door(Guard):
    """Notes who came in under which key and how it ended."""

    def __init__(self, *, needs_key: bool = False, waits: bool = False, shut: bool = False) -> None:
        self.name = "door"
        self.needs_key = needs_key  # type: ignore[misc]
        self.waits = waits
        self.shut = shut
        self.seen: list[tuple[str, Outcome, BaseException | None]] = []

    @property
    def never_waits(self) -> bool:
        return not self.waits

    @property
    def runtime(self) -> Runtime | None:
        return BLOCKING

    def needs_loop(self) -> str | None:
        return "a reason"

    async def enter(self, key: str, /) -> str:
        if self.shut:
            raise Rejected(self.name, key)
        return key

    def leave(self, permit: str, outcome: Outcome, error: BaseException | None, /) -> None:
        self.seen.append((permit, outcome, error))


class Abort(BaseException):
    """Stands for a cancellation."""


async def echo(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


async def test_a_call_goes_through_once_with_its_arguments() -> None:
    door = Door()
    assert await door.call(echo, 1, two=2) == ((1,), {"two": 2})
    assert await door.protect(echo)(1, two=2) == ((1,), {"two": 2})
    assert door.seen == [("", Outcome.SUCCESS, None)] * 2


@pytest.mark.parametrize(("error", "outcome"), [(KeyError(), Outcome.FAILURE), (Abort(), Outcome.CANCELLED)])
async def test_however_the_call_ends_the_permit_is_given_back_and_the_exception_is_bare(
    error: BaseException, outcome: Outcome
) -> None:
    door = Door()

    async def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await door.call(fail)
    assert caught.value is error
    with pytest.raises(type(error)) as caught:
        async with door.guard():
            raise error
    assert caught.value is error
    assert door.seen == [("", outcome, error)] * 2


async def test_a_refused_call_does_not_begin_and_gives_nothing_back() -> None:
    door = Door(shut=True)
    with pytest.raises(Rejected):
        await door.call(echo)
    with pytest.raises(Rejected):
        async with door.guard("k"):
            pytest.fail("begun")
    assert door.seen == []


async def test_a_key_is_a_string_or_comes_from_the_call() -> None:
    door = Door(needs_key=True)
    await door.by("fixed").call(echo, 1)
    await door.by(lambda order, **_: f"order-{order}").protect(echo)(7, rush=True)
    async with door.guard("raw"), door.by("fixed").guard() as permit:
        assert permit == "fixed"
    assert [key for key, _, _ in door.seen] == ["fixed", "order-7", "fixed", "raw"]


async def test_a_keyed_part_without_its_key_is_refused_when_it_decorates() -> None:
    door = Door(needs_key=True)
    for use in (lambda: door.protect(echo), door.guard):
        with pytest.raises(TypeError, match="keyed"):
            use()
    with pytest.raises(TypeError, match="keyed"):
        await door.call(echo)


def test_a_key_is_bound_once_and_is_a_string_or_a_function() -> None:
    door = Door()
    with pytest.raises(TypeError, match="has its key already"):
        door.by("a").by("b")
    with pytest.raises(TypeError, match="a key is a string"):
        door.by(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="depends on a call"):
        door.by(lambda: "a").guard()


def test_a_bound_part_answers_for_the_part_in_it() -> None:
    door = Door(waits=True)
    keyed = door.by("a")
    assert (keyed.name, keyed.never_waits, keyed.runtime, keyed.needs_loop()) == ("door", False, BLOCKING, "a reason")
    assert keyed.describe() == "Door by key"
    assert isinstance(keyed, Keyed)


async def test_a_plain_function_is_taken_by_a_part_that_never_waits() -> None:
    door = Door()

    @door.protect
    def double(number: int) -> int:
        """Twice as much."""
        return 2 * number

    assert double(4) == 8
    assert (double.__name__, double.__doc__) == ("double", "Twice as much.")
    with pytest.raises(TypeError, match="blocking"):
        Door(waits=True).protect(lambda: 1)


def test_a_plain_function_that_gives_a_coroutine_is_refused_and_not_taken_for_a_success() -> None:
    async def fetch() -> str:
        return "late"

    def begin() -> Any:
        return fetch()

    door = Door()
    with pytest.raises(TypeError, match=r"begin.*gives a coroutine.*fetch"):
        door.protect(begin)()
    assert [outcome for _, outcome, _ in door.seen] == [Outcome.FAILURE]


async def test_what_is_decorated_keeps_its_name_and_signature() -> None:
    async def fetch(symbol: str, *, times: int = 1) -> str:
        """Fetches."""
        return symbol * times

    protected = Door().protect(fetch)
    assert (protected.__name__, protected.__doc__) == ("fetch", "Fetches.")
    assert inspect.signature(protected) == inspect.signature(fetch)
    assert inspect.iscoroutinefunction(protected)


async def test_methods_may_be_decorated() -> None:
    door = Door()

    class Client:
        @door.by(lambda self, symbol: symbol).protect
        async def fetch(self, symbol: str) -> str:
            return symbol

    assert await Client().fetch("ACME") == "ACME"
    assert door.seen[0][0] == "ACME"


def test_generators_are_refused_because_their_work_comes_after_the_call() -> None:
    async def items() -> AsyncIterator[int]:
        yield 1

    def numbers() -> Iterator[int]:
        yield 1

    for function in (items, numbers):
        with pytest.raises(TypeError, match="generator"):
            Door().protect(function)  # type: ignore[arg-type]


def test_what_counts_as_async() -> None:
    class Callable:
        async def __call__(self) -> None:
            return None

    assert is_async(echo)
    assert is_async(functools.partial(echo, 1))
    assert is_async(Callable())
    assert not is_async(len)


def test_a_policy_says_little_of_itself_unless_it_is_told_to() -> None:
    class Bare(Policy):
        name = "bare"

        def wrap(self, call: Any, key: Any = None, /) -> Any:
            return call

    bare = Bare()
    assert (bare.describe(), bare.never_waits, bare.runtime, bare.needs_loop()) == ("Bare", False, None, None)
    assert bare.named("other") is bare
    assert list(bare.doubts((), ())) == []
    assert isinstance(bare.by("a"), Keyed)
