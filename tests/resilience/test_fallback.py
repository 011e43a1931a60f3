"""Fallback: which alternative answers, what is never replaced, what a pipeline says of its place."""

from __future__ import annotations

import functools
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sdpatterns import Bulkhead, CircuitBreaker, DeadlineExceeded, Fallback, Pipeline, Retry, Timeout
from sdpatterns.blocking import blocking
from sdpatterns.core.notices import Notice
from sdpatterns.errors import CircuitIsOpen
from sdpatterns.resilience.fallback import AlternativesExhausted, AlternativeUsed

pytestmark = pytest.mark.anyio


class Source:
    """An async source that raises or returns what it was given; remembers what it was asked."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked: list[tuple[Any, ...]] = []

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.asked.append((*args, *kwargs.items()))
        await anyio.lowlevel.checkpoint()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def fallback(*alternatives: Any, **settings: Any) -> Fallback:
    return Fallback(*alternatives, **{"on": ConnectionError, **settings})


async def test_a_call_that_succeeds_is_left_alone(heard: list[Notice]) -> None:
    spare = Source("spare")
    assert await fallback(spare).call(Source("first"), 1) == "first"
    assert (spare.asked, heard) == ([], [])


async def test_the_alternatives_come_in_order_with_the_arguments_of_the_call(heard: list[Notice]) -> None:
    spares = [Source(ConnectionError()), Source("second"), Source("third")]
    protected = fallback(*spares, name="quotes").protect(Source(ConnectionError()))
    assert await protected("ACME", day=3) == "second"
    assert [spare.asked for spare in spares] == [[("ACME", ("day", 3))], [("ACME", ("day", 3))], []]
    assert heard == [AlternativeUsed(name="quotes", alternative=2, error="ConnectionError")]
    assert heard[0].labels() == {"name": "quotes", "alternative": "2", "error": "ConnectionError"}


async def test_a_value_is_given_as_it_is() -> None:
    value: list[int] = []
    assert await fallback(value).call(Source(ConnectionError())) is value
    assert await fallback(None).call(Source(ConnectionError())) is None


async def test_a_lambda_may_hand_on_a_coroutine() -> None:
    spare = Source("spare")
    assert await fallback(lambda symbol: spare(symbol.lower())).call(Source(ConnectionError()), "ACME") == "spare"
    assert spare.asked == [("acme",)]


async def test_what_on_does_not_mean_goes_through_at_once() -> None:
    spare, error = Source("spare"), KeyError("x")
    with pytest.raises(KeyError) as caught:
        await fallback(spare).call(Source(error))
    assert (caught.value is error, spare.asked) == (True, [])


async def test_an_alternative_that_raises_something_else_ends_the_chain() -> None:
    last = Source("last")
    with pytest.raises(KeyError):
        await fallback(Source(KeyError("bug")), last).call(Source(ConnectionError()))
    assert last.asked == []


async def test_the_last_exception_arrives_bare(heard: list[Notice]) -> None:
    errors = [ConnectionError(number) for number in range(3)]
    with pytest.raises(ConnectionError) as caught:
        await fallback(Source(errors[1]), Source(errors[2])).call(Source(errors[0]))
    assert caught.value is errors[2]
    assert (caught.value.__context__, caught.value.__cause__) == (None, None)
    assert heard == [AlternativesExhausted(name="fallback", error="ConnectionError")]
    assert heard[0].labels() == {"name": "fallback", "error": "ConnectionError"}


async def test_a_failure_leaves_no_garbage_cycle() -> None:
    class Marked(ConnectionError):
        """An error whose end can be watched."""

    async def fail() -> None:
        raise Marked

    protected = fallback(fail).protect(fail)
    watched: list[weakref.ref[Marked]] = []
    gc.disable()
    try:
        try:
            await protected()
        except Marked as error:
            watched.append(weakref.ref(error))
        assert watched[0]() is None
    finally:
        gc.enable()


async def test_results_that_are_no_good_are_replaced_and_the_last_one_is_kept(heard: list[Notice]) -> None:
    def empty(result: Any) -> bool:
        return not result

    assert await Fallback(Source(""), Source("fine"), on_result=empty).call(Source([])) == "fine"
    assert heard.pop() == AlternativeUsed(name="fallback", alternative=2, error="")
    assert await Fallback(Source(0), on_result=empty).call(Source([])) == 0
    assert await fallback(Source(""), on_result=empty).call(Source(ConnectionError())) == ""
    assert heard == [AlternativesExhausted(name="fallback", error="")] * 2


async def test_a_value_answers_even_where_it_would_be_no_good_as_a_result() -> None:
    assert await Fallback(0, on_result=lambda result: not result).call(Source([])) == 0


async def test_on_may_be_a_predicate() -> None:
    gone = fallback("spare", on=lambda error: error.args == (410,))
    assert await gone.call(Source(OSError(410))) == "spare"
    with pytest.raises(OSError, match="500"):
        await gone.call(Source(OSError(500)))


@pytest.mark.parametrize("where", ["call", "alternative"])
async def test_cancellation_is_never_swallowed(where: str) -> None:
    async def hang() -> str:
        await anyio.sleep(60)
        return "late"

    chain = [hang, "value"] if where == "alternative" else ["value"]
    call = Source(ConnectionError()) if where == "alternative" else hang
    with anyio.move_on_after(1) as scope:
        await fallback(*chain, on=lambda _error: True).call(call)
    assert scope.cancelled_caught


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_what_is_no_exception_is_never_caught(stop: type[BaseException]) -> None:
    protected = fallback("value", on=lambda _error: True).wrap(Source(stop()))
    with pytest.raises(stop):
        await protected()


async def test_a_plain_function_is_taken_where_no_alternative_is_async() -> None:
    @fallback(lambda number: number * 10, on=ValueError).protect
    def parse(number: int) -> int:
        raise ValueError

    assert parse(4) == 40
    with pytest.raises(TypeError, match="plain def"):
        fallback(Source(1)).protect(parse)
    with pytest.raises(TypeError, match="plain def"):
        fallback(functools.partial(hang_up, 1)).protect(parse)


async def hang_up(_number: int) -> None:
    await anyio.sleep(1)


def test_it_works_without_a_loop() -> None:
    def fail() -> str:
        raise ConnectionError

    assert blocking(fallback(lambda: "spare")).protect(fail)() == "spare"
    assert blocking(fallback("value")).call(fail) == "value"


async def test_it_takes_the_name_of_its_pipeline_unless_it_has_one() -> None:
    own, none = fallback(1, name="own"), fallback(1)
    assert (own.named("quotes").name, none.named("quotes").name, none.name) == ("own", "quotes", "fallback")
    with pytest.raises(ValueError, match="name"):
        fallback(1, name="")


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("alternatives", "settings", "word"),
    [
        ((), {"on": OSError}, "alternatives"),
        (("x",), {}, "on"),
        (("x",), {"on": BaseException}, "on"),
        (("x",), {"on": "OSError"}, "on"),
        (("x",), {"on_result": 7}, "on_result"),
        (("x", print), {"on": OSError}, "never reached"),
        ((print,) * 17, {"on": OSError}, "1 to 16"),
        ((generator,), {"on": OSError}, "generators"),
        ((async_generator,), {"on": OSError}, "generators"),
    ],
    ids=lambda value: getattr(value, "__name__", None) if callable(value) else None,
)
async def test_bad_settings_are_refused(alternatives: tuple[Any, ...], settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Fallback(*alternatives, **settings)


async def test_generators_are_refused() -> None:
    with pytest.raises(TypeError, match="generator"):
        fallback(1).protect(generator)


def warnings(*parts: Any) -> list[str]:
    return Pipeline(*parts, name="quotes").warnings()


def breaker() -> CircuitBreaker:
    return CircuitBreaker("quotes", failure_rate=0.5)


async def test_a_pipeline_tells_where_it_hides_failures() -> None:
    plain = fallback(0)
    retry = Retry(on=ConnectionError, idempotent=True)
    assert warnings(plain, retry) == []
    assert "never repeated" in warnings(retry, plain)[0]
    assert "as success" in warnings(breaker(), plain)[0]
    assert "does not replace CircuitIsOpen" in warnings(plain, breaker())[0]
    assert "does not replace DeadlineExceeded" in warnings(plain, Timeout(1.0))[0]
    assert "leaves it no time" in warnings(Timeout(1.0), plain)[0]


async def test_a_pipeline_is_content_with_the_order_of_the_page() -> None:
    wide = fallback(0, on=(ConnectionError, CircuitIsOpen, DeadlineExceeded))
    assert warnings(wide, breaker(), Timeout(1.0), Bulkhead("quotes", concurrent_max=3)) == []
    assert warnings(Timeout(9.0), wide, Timeout(1.0)) == []
    assert warnings(fallback(0, on=lambda _error: True), breaker(), Timeout(1.0)) == []


async def test_explain_shows_the_chain_but_no_value() -> None:
    text = Pipeline(fallback(hang_up, Source(1), "secret"), name="quotes").explain()
    assert text == "quotes:\n  1. Fallback: hang_up, then Source, then a str"
