"""The shape of everything that stands around a call.

A `Policy` may run the call any number of times; a `Guard` (its neighbour) enters and leaves once.
Both come down to one method, `wrap`, which takes an async callable and gives the protected one.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from concurrent.futures import Future
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, ParamSpec, TypeAlias, TypeVar, cast, overload

from sdpatterns.core.judging import is_async, title_of
from sdpatterns.core.keys import KeyOf, key_of
from sdpatterns.core.runtime import Runtime, Stopped, finish
from sdpatterns.core.spelling import explained, how_to_enter
from sdpatterns.core.undivided import bound_to_here

__all__ = [
    "AsyncCall",
    "Keyed",
    "Policy",
    "Trait",
    "Unawaited",
    "awaitable_call",
    "check_done",
    "check_function",
    "check_keyed",
    "is_async",
    "lifted",
    "protect_plain",
    "title_of",
]

P = ParamSpec("P")
R = TypeVar("R")

AsyncCall: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]

Trait: TypeAlias = Literal["repeats", "limits_time", "counts_outcomes", "holds_slot", "absorbs_repeats"]
"""What the neighbours of a part in a pipeline must know of it, to find an order that defeats itself."""


class Policy(ABC):
    """Something that runs a call: 0, 1 or many times."""

    name: str
    """What its owner called it; the name in notices, metrics and refusals."""
    needs_key: bool = False
    """Whether it means nothing without a key: such a part is bound with `by` first."""
    traits: ClassVar[frozenset[Trait]] = frozenset()
    """How it bears on its neighbours; see `Trait`."""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        explained(cls)

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that its store's I/O needs; None where nothing of it does I/O."""
        return None

    def needs_loop(self) -> str | None:
        """Why it can't work in a program without an event loop; None where it can."""
        return None

    @abstractmethod
    def wrap(self, call: AsyncCall, key: KeyOf | None = None, /) -> AsyncCall:
        """The protected form of `call`. `key` gives the key of a call from its arguments."""

    @property
    def never_waits(self) -> bool:
        """Whether a call through it can't suspend, so that it may stand on a plain function."""
        return False

    def describe(self) -> str:
        """One line for `explain()`: the settings that matter."""
        return type(self).__name__

    def standing(self) -> str:
        """Its state just now, for `repr`: a few words, read without waiting for a lock. Empty: it has none."""
        return ""

    def __repr__(self) -> str:
        try:
            return f"<{self._shown()}>"
        except Exception:  # noqa: BLE001 - half built, or a part of the user's; a debugger shows it all the same
            return f"<{type(self).__name__}>"

    def _shown(self) -> str:
        now = self.standing()
        return f"{self.describe()}: {now}" if now else self.describe()

    def named(self, name: str, /) -> Policy:
        """Itself, or, where it was given no name, a copy that takes this one."""
        return self

    def doubts(self, outside: Sequence[Policy], inside: Sequence[Policy], /) -> Sequence[str]:
        """Warnings about where it stands in a pipeline, given its neighbours on both sides.

        The neighbours come without their keys, and the parts of a pipeline within one by one.
        """
        return ()

    @overload
    def protect(self, function: Callable[P, Awaitable[R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def protect(self, function: Callable[P, R], /) -> Callable[P, R]: ...
    def protect(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        """Decorate a function or method; its signature stays what it was.

        A plain `def` is taken only by a part that never waits. Raises TypeError otherwise, and for
        generators, whose work happens after the call has returned.
        """
        return _protect(self, function)

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...
    def __call__(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        """The same as `protect`: the part itself is the decorator, `@limiter`."""
        return self.protect(function)

    async def call(self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run one call under this policy, without decorating the function."""
        check_keyed(self, None)
        protected = self.wrap(awaitable_call(function))
        return cast("R", await protected(*args, **kwargs))

    if not TYPE_CHECKING:  # type checkers refuse such a block by themselves

        async def __aenter__(self) -> Any:
            raise TypeError(how_to_enter(self, "async with"))

        async def __aexit__(self, *_: object) -> None:
            """Never reached; without it Python would speak of this method alone."""

        def __enter__(self) -> Any:
            raise TypeError(how_to_enter(self, "async with"))

        def __exit__(self, *_: object) -> None:
            """Never reached, as the one above."""

    def by(self, key: str | Callable[..., str], /) -> Keyed:
        """The same part bound to a key: a string, or a function of the call's arguments."""
        return Keyed(self, key)


class Unawaited:
    """What `blocking(...)` gives is one of these: its methods have nothing to await."""


class Keyed(Policy):
    """A part with its key: what `part.by(...)` gives. It keeps the part's name and state."""

    def __init__(self, part: Policy, key: str | Callable[..., str]) -> None:
        self.part = part
        self.name = part.name
        self._key = key_of(key)

    @property
    def never_waits(self) -> bool:
        return self.part.never_waits

    @property
    def runtime(self) -> Runtime | None:
        return self.part.runtime

    def needs_loop(self) -> str | None:
        return self.part.needs_loop()

    def wrap(self, call: AsyncCall, key: KeyOf | None = None, /) -> AsyncCall:
        return self.part.wrap(call, self._key)

    def describe(self) -> str:
        return f"{self.part.describe()} by key"

    def standing(self) -> str:
        return self.part.standing()

    def by(self, key: str | Callable[..., str], /) -> Keyed:
        raise TypeError(f"{self.name!r} has its key already")


def check_keyed(part: Policy, key: KeyOf | None) -> None:
    """Raise TypeError for a keyed part that has no key."""
    if part.needs_key and key is None:
        kind = type(part).__name__
        raise TypeError(f"{kind} {part.name!r} is keyed: bind one with .by('name') or .by(function)")


def check_function(part: object, function: object) -> None:
    """Raise TypeError if `function`, which a part decorates, is not callable."""
    if not callable(function):
        raise TypeError(f"{type(part).__name__} decorates a function, got {function!r}")


_RESULTS = (None, bool, int, float, str, bytes, list, dict, set, tuple)
_NOT_AWAITED = frozenset(_RESULTS) | {str(getattr(kind, "__name__", kind)) for kind in _RESULTS}


def awaitable_call(function: Callable[..., Any]) -> AsyncCall:
    """`function` as the work of a call that awaits it.

    A plain callable may give something to await, as a lambda around a coroutine does. Raises TypeError
    where it is seen to give none: at once by what it says to return, else after it ran.
    """
    if type(function) is FunctionType and function.__code__.co_flags & inspect.CO_COROUTINE:
        return function
    if is_async(function):
        return cast("AsyncCall", function)
    returns = getattr(function, "__annotations__", {}).get("return", Any)
    if isinstance(returns, Hashable) and returns in _NOT_AWAITED:
        raise TypeError(f"{title_of(function)} gives nothing to await: make it async, or use blocking(...)")

    async def call(*args: Any, **kwargs: Any) -> Any:
        """Call it, and await what it gives."""
        result = function(*args, **kwargs)
        if not inspect.isawaitable(result):
            made = type(result).__name__
            raise TypeError(f"{title_of(function)} gave {made}, which cannot be awaited: make it async")
        return await result

    return functools.update_wrapper(call, function)


def lifted(function: Callable[..., Any]) -> AsyncCall:
    """A plain function as an async one that never suspends.

    Called, it raises TypeError where `function` gives what still has to run (a coroutine, a task or another
    awaitable, a generator, what `@contextmanager` makes, a future of an executor), because that work would
    come after the call. A task that runs already goes on.
    """

    async def call(*args: Any, **kwargs: Any) -> Any:
        """Call the plain function, and see that it has done its work."""
        try:
            result = function(*args, **kwargs)
        except StopIteration as stop:
            raise Stopped(stop) from stop
        if type(result) not in _DONE:
            check_done(function, result)
        return result

    return call


_DONE: set[type] = {type(None), bool, int, float, str, bytes, list, dict, tuple, set}
"""Kinds of results that have nothing left to run: those seen first, a bounded number of them."""
_DONE_MAX = 256


def check_done(function: Callable[..., Any], result: object) -> None:
    """Raise TypeError where the result of a plain function is work that is still to come."""
    kind = type(result)
    remedy = _remedy_for(kind)
    if remedy is None:
        if len(_DONE) < _DONE_MAX:
            _DONE.add(kind)
        return
    made = "a coroutine" if kind is CoroutineType else f"a {kind.__name__.lstrip('_')}"
    if isinstance(result, CoroutineType | GeneratorType):
        made += f", {result.__qualname__}"
        result.close()
    raise TypeError(f"{title_of(function)} is a plain def that gives {made}, whose work comes after the call: {remedy}")


def _remedy_for(kind: type) -> str | None:
    if hasattr(kind, "__await__"):
        return "make it async"
    if issubclass(kind, Future):
        return "protect the function that the executor runs"
    # What `@contextmanager` makes says so by its name alone, and a subclass of it does too.
    made = {"_GeneratorContextManager", "_AsyncGeneratorContextManager"} & {each.__name__ for each in kind.__mro__}
    if made or issubclass(kind, GeneratorType | AsyncGeneratorType):
        return "protect the call that makes each item"
    return None


def protect_plain(part: Policy, function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain function under a part that will not suspend here."""
    check_keyed(part, None)
    wrapped = part.wrap(lifted(function))

    def plain(*args: Any, **kwargs: Any) -> Any:
        return finish(wrapped(*args, **kwargs))

    return bound_to_here(functools.update_wrapper(plain, function), part)


def _protect(part: Policy, function: Callable[..., Any]) -> Callable[..., Any]:
    check_function(part, function)
    check_keyed(part, None)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"{title_of(function)} is a generator: protect the call that makes each item")
    if is_async(function):
        protected = functools.update_wrapper(part.wrap(cast("AsyncCall", function)), function)
        return bound_to_here(protected, part)
    if not part.never_waits:
        raise TypeError(
            f"{type(part).__name__} {part.name!r} may have to wait, and {title_of(function)} is a plain def:"
            " make it async, or use blocking(...) in a program without an event loop"
        )
    return protect_plain(part, function)
