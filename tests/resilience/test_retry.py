"""Retry: what it repeats, how long it waits, what the caller gets."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sdpatterns import DeadlineExceeded, Retry, with_deadline
from sdpatterns.blocking import blocking
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import deadline_at, deadline_left_s, trace
from sdpatterns.core.notices import Notice
from sdpatterns.core.tracing import trace_with
from sdpatterns.errors import CircuitIsOpen, Rejected
from sdpatterns.observability.opentelemetry import OpenTelemetryTracer
from sdpatterns.resilience.retry import RetriesExhausted, RetryScheduled
from sdpatterns.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


class Callee:
    """Raises or returns what it was given, one after another; remembers when it was called."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.called_at: list[float] = []

    async def __call__(self) -> Any:
        self.called_at.append(SYSTEM.monotonic())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @property
    def waits(self) -> list[float]:
        return [round(b - a, 6) for a, b in zip(self.called_at, self.called_at[1:], strict=False)]


def steady(**settings: Any) -> Retry:
    """A retry whose waits are 1, 2, 4 ... seconds."""
    return Retry(**{"on": ConnectionError, "backoff": "exponential", "base_s": 1.0, "max_s": 100.0, **settings})


async def test_first_success_is_returned_and_nothing_waits() -> None:
    callee = Callee(7)
    assert await steady().call(callee) == 7
    assert callee.waits == []


async def test_repeats_until_it_succeeds_with_growing_waits() -> None:
    callee = Callee(ConnectionError(), ConnectionError(), ConnectionError(), "fine")
    assert await steady(attempts_max=9).call(callee) == "fine"
    assert callee.waits == [1.0, 2.0, 4.0]


async def test_never_more_than_attempts_max() -> None:
    callee = Callee(ConnectionError())
    with pytest.raises(ConnectionError):
        await steady(attempts_max=4).call(callee)
    assert len(callee.called_at) == 4


@pytest.mark.parametrize("attempts_max", [1, 3])
async def test_the_last_exception_arrives_bare(attempts_max: int) -> None:
    errors = [ConnectionError(number) for number in range(attempts_max)]
    with pytest.raises(ConnectionError) as caught:
        await steady(attempts_max=attempts_max).call(Callee(*errors))
    assert caught.value is errors[-1]
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


async def test_an_exception_raised_over_again_keeps_a_short_traceback() -> None:
    error = ConnectionError()
    fail = steady(attempts_max=2, base_s=0.0).protect(Callee(error))
    for _ in range(50):
        with pytest.raises(ConnectionError):
            await fail()
        error.__traceback__ = None
    with pytest.raises(ConnectionError):
        await fail()
    assert len(traceback.extract_tb(error.__traceback__)) < 12


async def test_another_exception_is_not_repeated() -> None:
    callee = Callee(ConnectionError(), KeyError("own"), "never")
    with pytest.raises(KeyError, match="own"):
        await steady().call(callee)
    assert len(callee.called_at) == 2


async def test_a_predicate_chooses_what_is_repeated() -> None:
    callee = Callee(OSError(11), OSError(5))
    with pytest.raises(OSError, match="5"):
        await steady(on=lambda error: error.args == (11,)).call(callee)
    assert len(callee.called_at) == 2


async def test_unwanted_results_are_repeated_and_the_last_is_returned() -> None:
    callee = Callee(None, None, "late")
    assert await steady(on=(), on_result=lambda result: result is None).call(callee) == "late"
    callee = Callee(None)
    assert await steady(on=(), on_result=lambda result: result is None, attempts_max=3).call(callee) is None
    assert len(callee.called_at) == 3


async def test_results_and_exceptions_may_alternate() -> None:
    callee = Callee(None, ConnectionError(), None, "late")
    retry = steady(attempts_max=4, on_result=lambda result: result is None)
    assert await retry.call(callee) == "late"


async def test_jitter_is_drawn_from_the_random_source_that_was_handed_in() -> None:
    callee = Callee(ConnectionError())
    retry = steady(backoff="full_jitter", random=lambda: 0.25, attempts_max=3)
    with pytest.raises(ConnectionError):
        await retry.call(callee)
    assert callee.waits == [0.25, 0.5]


async def test_a_backoff_of_ones_own_gets_the_number_of_the_repeat() -> None:
    callee = Callee(ConnectionError())
    with pytest.raises(ConnectionError):
        await steady(backoff=lambda repeat: 10.0 * repeat, max_s=15.0, attempts_max=4).call(callee)
    assert callee.waits == [0.0, 10.0, 15.0]


async def test_waits_at_least_as_long_as_the_failure_asks() -> None:
    callee = Callee(Rejected("api", retry_after_s=5.0), Rejected("api", retry_after_s=0.5), "fine")
    assert await steady(on=Rejected).call(callee) == "fine"
    assert callee.waits == [5.0, 2.0]


async def test_a_circuit_is_asked_again_when_it_said() -> None:
    callee = Callee(CircuitIsOpen("quotes", retry_after_s=12.0), "fine")
    assert await steady(on=CircuitIsOpen).call(callee) == "fine"
    assert callee.waits == [12.0]


async def test_a_hint_beyond_the_bound_ends_the_attempts() -> None:
    callee = Callee(Rejected("api", retry_after_s=61.0))
    with pytest.raises(Rejected):
        await steady(on=Rejected).call(callee)
    assert len(callee.called_at) == 1


async def test_a_hint_may_be_read_from_any_exception() -> None:
    callee = Callee(ConnectionError("7"), "fine")
    assert await steady(retry_after=lambda error: float(error.args[0])).call(callee) == "fine"
    assert callee.waits == [7.0]


async def test_a_retry_after_s_that_is_no_number_is_no_hint() -> None:
    error = ConnectionError()
    error.retry_after_s = "soon"  # type: ignore[attr-defined]
    callee = Callee(error, "fine")
    assert await steady().call(callee) == "fine"
    assert callee.waits == [1.0]


async def test_never_waits_past_its_own_timeout() -> None:
    callee = Callee(ConnectionError())
    with pytest.raises(ConnectionError):
        await steady(attempts_max=99, timeout_s=10.0).call(callee)
    assert callee.waits == [1.0, 2.0, 4.0]
    assert SYSTEM.monotonic() - callee.called_at[0] == pytest.approx(7.0)


async def test_never_waits_past_the_deadline_it_was_called_under() -> None:
    callee = Callee(ConnectionError())
    with with_deadline(2.5), pytest.raises(ConnectionError):
        await steady(attempts_max=99, timeout_s=10.0).call(callee)
    assert callee.waits == [1.0]


async def test_the_call_knows_the_time_that_is_left_for_all_attempts() -> None:
    left: list[float | None] = []

    async def call() -> None:
        left.append(deadline_left_s())
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await steady(attempts_max=2, timeout_s=10.0).call(call)
    assert left == [pytest.approx(10.0), pytest.approx(9.0)]
    assert deadline_at.get() is None


async def test_cancelled_while_waiting_it_makes_no_further_attempt() -> None:
    callee = Callee(ConnectionError())
    with anyio.move_on_after(1.5) as scope:
        await steady(attempts_max=99).call(callee)
    assert scope.cancelled_caught
    assert len(callee.called_at) == 2


async def test_listeners_hear_of_each_wait_and_of_giving_up(heard: list[Notice]) -> None:
    with pytest.raises(ConnectionError):
        await steady(attempts_max=2, name="quotes").call(Callee(ConnectionError()))
    assert heard == [
        RetryScheduled(name="quotes", attempt=1, delay_s=1.0, error="ConnectionError"),
        RetriesExhausted(name="quotes", attempts=2, reason="attempts", error="ConnectionError"),
    ]
    assert heard[0].labels() == {"name": "quotes", "error": "ConnectionError"}
    assert heard[1].labels() == {"name": "quotes", "reason": "attempts", "error": "ConnectionError"}


@pytest.mark.parametrize(
    ("settings", "reason"), [({"timeout_s": 0.5}, "deadline"), ({"retry_after": lambda _: 90.0}, "retry_after")]
)
async def test_giving_up_says_why(heard: list[Notice], settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConnectionError):
        await steady(**settings).call(Callee(ConnectionError()))
    assert [notice.labels().get("reason") for notice in heard] == [reason]


async def test_an_exception_that_is_not_repeated_is_no_news(heard: list[Notice]) -> None:
    with pytest.raises(KeyError):
        await steady().call(Callee(KeyError()))
    assert heard == []


# -- as a loop ---------------------------------------------------------------------------------


async def test_a_block_is_attempted_until_it_ends_without_an_exception() -> None:
    numbers = []
    started = SYSTEM.monotonic()
    async for attempt in steady():
        with attempt:
            numbers.append(attempt.number)
            if attempt.number < 3:
                raise ConnectionError
    assert numbers == [1, 2, 3]
    assert SYSTEM.monotonic() - started == pytest.approx(3.0)


async def test_a_block_raises_its_last_exception_bare() -> None:
    errors = [ConnectionError(number) for number in range(3)]

    async def block() -> None:
        async for attempt in steady(attempts_max=3):
            with attempt:
                raise errors[attempt.number - 1]

    with pytest.raises(ConnectionError) as caught:
        await block()
    assert caught.value is errors[2]
    assert caught.value.__context__ is None


async def test_a_block_may_be_left_by_return() -> None:
    async def fetch() -> int:
        async for attempt in steady():
            with attempt:
                return attempt.number
        return -1

    assert await fetch() == 1


async def test_a_block_carries_the_deadline_of_all_attempts() -> None:
    left: list[float | None] = []

    async def block() -> None:
        async for attempt in steady(attempts_max=9, timeout_s=5.0):
            with attempt:
                left.append(deadline_left_s())
                raise ConnectionError

    with pytest.raises(ConnectionError):
        await block()
    assert left == [pytest.approx(5.0), pytest.approx(4.0), pytest.approx(2.0)]
    assert deadline_at.get() is None


async def test_a_block_lets_an_earlier_deadline_stand() -> None:
    with with_deadline(1.0):
        async for attempt in steady(timeout_s=5.0):
            with attempt:
                assert deadline_left_s() == pytest.approx(1.0)
    assert deadline_at.get() is None


# -- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"on": ()}, "on"),
        ({"on": BaseException}, "on"),
        ({"on": (OSError, KeyboardInterrupt)}, "on"),
        ({"on": 7}, "on"),
        ({"attempts_max": 0}, "attempts_max"),
        ({"attempts_max": 1.5}, "attempts_max"),
        ({"attempts_max": True}, "attempts_max"),
        ({"base_s": -1}, "base_s"),
        ({"base_s": float("nan")}, "base_s"),
        ({"base_s": 5.0, "max_s": 1.0}, "max_s"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": "1"}, "timeout_s"),
        ({"retry_after_max_s": float("inf")}, "retry_after_max_s"),
        ({"backoff": "linear"}, "backoff"),
        ({"name": ""}, "Retry"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}"):
        Retry(**{"on": ConnectionError, **settings})


def test_a_nameless_retry_takes_the_name_it_is_given_and_a_named_one_keeps_its_own() -> None:
    retry = Retry(on=ConnectionError)
    assert (retry.name, retry.named("quotes").name, retry.name) == ("retry", "quotes", "retry")
    own = Retry(on=ConnectionError, name="own")
    assert own.named("quotes") is own


def test_a_plain_function_is_refused_because_a_wait_needs_a_loop() -> None:
    with pytest.raises(TypeError, match="blocking"):
        Retry(on=ConnectionError).protect(len)


def test_it_describes_itself() -> None:
    assert Retry(on=OSError, timeout_s=5).describe() == "Retry: 3 attempts, full_jitter 0.1-10 s, 5 s in all"
    assert Retry(on=OSError, backoff=lambda _: 1.0).describe() == "Retry: 3 attempts, own backoff 0.1-10 s"


async def test_a_failed_call_leaves_no_garbage_cycle() -> None:
    """The frames of a failure must not keep it, and all it refers to, until the collector runs."""

    class Big(Exception):
        pass

    async def fail() -> None:
        raise Big

    protected = Retry(on=Big, attempts_max=2, base_s=0.0).protect(fail)
    gc.collect()
    gc.disable()
    try:
        try:
            await protected()
        except Big:
            pass
        assert not [thing for thing in gc.get_objects() if type(thing) is Big]
    finally:
        gc.enable()


def test_a_retry_for_timeouts_needs_them_named() -> None:
    matching: Callable[[Any], bool] = Retry(on=(ConnectionError, DeadlineExceeded))._matches
    assert matching(DeadlineExceeded("x", 1.0))
    assert not Retry(on=ConnectionError)._matches(DeadlineExceeded("x", 1.0))


# -- without a loop ----------------------------------------------------------------------------


def test_in_a_program_without_a_loop_it_repeats_plain_functions(no_waiting: VirtualClock) -> None:
    started, answers = no_waiting.monotonic(), [ConnectionError(), ConnectionError(), "fine"]

    def fetch() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert blocking(steady()).protect(fetch)() == "fine"
    assert no_waiting.monotonic() - started == pytest.approx(3.0)


def test_in_a_program_without_a_loop_it_repeats_blocks(no_waiting: VirtualClock) -> None:
    numbers = []
    for attempt in blocking(steady()):
        with attempt:
            numbers.append(attempt.number)
            if attempt.number < 3:
                raise ConnectionError
    assert numbers == [1, 2, 3]


async def test_a_backoff_that_is_async_after_all_leaves_neither_deadline_nor_span_behind() -> None:
    async def later() -> float:
        return 1.0

    broken: Any = lambda _repeat: later()  # noqa: E731 - a plain function that gives a coroutine

    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with trace_with(OpenTelemetryTracer(provider)), with_deadline(60.0):
        before = deadline_at.get()
        attempts = aiter(Retry(on=OSError, backoff=broken, timeout_s=1.0, name="quotes"))
        with pytest.raises(TypeError, match="backoff gave something to await"), await anext(attempts):
            raise OSError("away")
        assert deadline_at.get() == before
        assert trace.get() is None
    assert [span.name for span in exporter.get_finished_spans()] == ["attempt 1 quotes"]
