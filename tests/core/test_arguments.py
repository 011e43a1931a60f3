"""Arguments that travel by name, to functions of every form."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from sdpatterns.core.arguments import Parameters
from sdpatterns.errors import CodecError


def plain(a: int, b: int = 2) -> tuple[Any, ...]:
    return a, b


def only_named(a: int, *, b: int = 2) -> tuple[Any, ...]:
    return a, b


def only_by_place(a: int, b: int = 2, /) -> tuple[Any, ...]:
    return a, b


def of_many(a: int, *more: int, **named: int) -> tuple[Any, ...]:
    return a, more, named


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (plain, (1,), {}),
        (plain, (1, 3), {}),
        (plain, (), {"b": 4, "a": 1}),
        (only_named, (1,), {"b": 5}),
        (only_by_place, (1,), {}),
        (only_by_place, (1, 7), {}),
        (of_many, (1,), {}),
        (of_many, (1, 2, 3), {"x": 4}),
    ],
)
def test_a_call_that_travelled_gives_what_the_call_gives(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    parameters = Parameters(inspect.signature(function))
    found_args, found_kwargs = parameters.fitting(parameters.named(args, kwargs))
    assert function(*found_args, **found_kwargs) == function(*args, **kwargs)


def test_what_does_not_fit_is_named_in_one_line() -> None:
    parameters = Parameters(inspect.signature(only_named))
    with pytest.raises(CodecError, match="unknown c, unknown d, missing a"):
        parameters.fitting({"d": 1, "c": 1, "b": 1})
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        parameters.named((), {"b": 1})
