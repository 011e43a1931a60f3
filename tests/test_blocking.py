"""The blocking door: the same objects, no await."""

import asyncio
import threading

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.blocking import blocking
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.guard import Guard
from sdpatterns.core.outcome import Outcome
from sdpatterns.core.pipeline import Pipeline
from sdpatterns.core.policy import Policy
from sdpatterns.core.runtime import ASYNCIO, BLOCKING
from sdpatterns.errors import Rejected
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.steps import Add, Look
from tests.threads import in_threads


class Turnstile(Guard):
    """Counts who is inside; refuses the key `no`."""

    def __init__(self, name="turnstile"):
        self.name = name
        self.inside = 0
        self.outcomes = []

    async def enter(self, key):
        if key == "no":
            raise Rejected(self.name, key)
        self.inside += 1
        return self.inside

    def leave(self, permit, outcome, error):
        self.inside -= 1
        self.outcomes.append(outcome)


class Twice(Policy):
    """Runs the call two times."""

    name = "twice"

    def wrap(self, call, key=None):
        async def twice(*args, **kwargs):
            return [await call(*args, **kwargs), await call(*args, **kwargs)]

        return twice


class Suspension:
    """Something that waits for a loop to come back."""

    def __await__(self):
        yield


class Parks(Policy):
    """Waits on an event loop, which a blocking program does not have."""

    name = "parks"

    def wrap(self, call, key=None):
        async def parked(*args, **kwargs):
            await Suspension()

        return parked


class LoopOnly(Twice):
    """Says that it needs a loop."""

    def needs_loop(self):
        return "it interrupts"


def test_a_store_answers_without_an_await():
    cells = blocking(MemoryBackend().states).cells(Space("numbers", IntegersCodec()))

    assert [cells.transact("a", Add())[0] for _ in range(3)] == [0, 1, 2]
    assert cells.transact("a", Look()) == (3,)
    assert cells.read_many(["a", "b"]) == [(3,), None]


def test_eight_threads_lose_no_step():
    cells = blocking(MemoryBackend().states).cells(Space("numbers", IntegersCodec()))
    in_threads(lambda: [cells.transact("a", Add()) for _ in range(500)])
    assert cells.read("a") == (4000,)


def test_a_subscription_is_woken_from_another_thread():
    backend = MemoryBackend()
    cells = blocking(backend.states).cells(Space("numbers", IntegersCodec()))
    with blocking(backend.signals).subscribe("counted") as subscription:
        assert subscription.wait(0.0) is False
        thread = threading.Thread(target=cells.transact, args=("a", Add(wake=["counted"])))
        thread.start()
        assert subscription.wait(60.0) is True
        thread.join()


def test_protect_keeps_a_plain_function_plain():
    turnstile = Turnstile()

    @blocking(turnstile).protect
    def double(number: int) -> int:
        """Twice the number."""
        assert turnstile.inside == 1
        return number * 2

    assert double(4) == 8
    assert double.__doc__ == "Twice the number."
    assert turnstile.outcomes == [Outcome.SUCCESS]


def test_a_pipeline_runs_plain_functions():
    calls = Pipeline(Twice(), Turnstile(), name="calls")

    assert blocking(calls).call(lambda word: word.upper(), "a") == ["A", "A"]


def test_a_function_among_the_arguments_of_the_work_stays_as_it_is():
    assert blocking(Twice()).call(lambda given: given(), str) == ["", ""]


def test_a_guard_is_a_with_block():
    turnstile = Turnstile()
    with blocking(turnstile).guard() as permit:
        assert permit == 1
    with pytest.raises(KeyError), blocking(turnstile).guard():
        raise KeyError("x")
    with pytest.raises(Rejected), blocking(turnstile).by("no").guard():
        raise AssertionError("entered")

    assert turnstile.outcomes == [Outcome.SUCCESS, Outcome.FAILURE]


def test_the_callers_exception_arrives_bare():
    error = ValueError("mine")

    def fail():
        raise error

    with pytest.raises(ValueError, match="mine") as caught:
        blocking(Turnstile()).call(fail)

    assert caught.value is error


def test_an_async_store_is_refused_before_anything_is_sent():
    backend = MemoryBackend()
    backend.states.runtime = ASYNCIO
    with pytest.raises(TypeError, match="needs asyncio: build its backend with blocking=True"):
        blocking(backend.states)
    backend.states.runtime = BLOCKING
    assert blocking(backend.states).runtime is BLOCKING


def test_what_needs_a_loop_says_so():
    with pytest.raises(TypeError, match="LoopOnly 'twice' needs an event loop: it interrupts"):
        blocking(LoopOnly())
    with pytest.raises(TypeError, match="it interrupts"):
        blocking(Pipeline(Turnstile(), LoopOnly(), name="pair"))


def test_a_call_that_would_suspend_raises_instead_of_hanging():
    with pytest.raises(RuntimeError, match="has to wait on an event loop"):
        blocking(Parks()).call(int)


def test_a_call_inside_a_loop_raises():
    cells = blocking(MemoryBackend().states).cells(Space("numbers", IntegersCodec()))
    protected = blocking(Turnstile()).protect(int)

    async def main():
        with pytest.raises(RuntimeError, match="would stop the event loop"):
            cells.transact("a", Add())
        with pytest.raises(RuntimeError, match="would stop the event loop"):
            protected("1")
        with pytest.raises(RuntimeError, match="would stop the event loop"):
            blocking(Turnstile()).guard().__enter__()

    asyncio.run(main())
    assert cells.read("a") is None


def test_an_async_function_is_refused():
    async def work():
        return 1

    with pytest.raises(TypeError, match="is async"):
        blocking(Turnstile()).protect(work)


def test_it_shows_what_is_inside():
    assert repr(blocking(Twice())) == "blocking(Twice 'twice')"
    assert blocking(Twice()).name == "twice"
