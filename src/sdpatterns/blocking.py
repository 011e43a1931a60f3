"""Use patterns in programs without an event loop.

```
limiter = blocking(RateLimiter("api", per_second(100)))
limiter.acquire("user:42")                 # the same names, and no await

@blocking(Pipeline(Retry(...), breaker, name="quotes"))
def fetch_quote(symbol): ...
```

The object inside is the async one. In a program without a loop nothing of it suspends, because its
store is a blocking one (or none) and waiting blocks the thread; so each call is one `send(None)` on
its coroutine. `blocking.pyi` beside this file gives every class its types.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any

from sdpatterns.core.policy import Policy, Unawaited, check_function, is_async, lifted, protect_plain, title_of
from sdpatterns.core.runtime import BLOCKING, current, finish
from sdpatterns.core.spelling import how_to_enter
from sdpatterns.core.undivided import bound_to_here

__all__ = ["blocking"]


def blocking(thing: Any, /) -> Any:
    """Make a pattern or backend usable without an event loop: the same methods, without `await`.

    Takes a pattern, a pipeline, a store or a backend. A function that it decorates, or that `protect` or
    `call` gets, is a plain one.

    Raises TypeError at once, before anything is sent, for an object whose store needs an event loop
    (build its backend with `blocking=True`) and for one that cannot work without a loop. A call in
    a thread that runs a loop raises RuntimeError, because it would stop that loop.

    Costs about a microsecond a call; a bridge through a second thread costs a hundred times that.
    """
    needs = getattr(thing, "runtime", None)
    if needs is not None and needs is not BLOCKING:
        raise TypeError(f"the store of {_title(thing)} needs {needs.name}: build its backend with blocking=True")
    reason = thing.needs_loop() if isinstance(thing, Policy) else None
    if reason:
        raise TypeError(f"{_title(thing)} needs an event loop: {reason}")
    return _behind(thing)


def _title(thing: object) -> str:
    name = getattr(thing, "name", None)
    return f"{type(thing).__name__} {name!r}" if isinstance(name, str) else type(thing).__name__


def _refuse_in_a_loop() -> None:
    if current() is not BLOCKING:
        raise RuntimeError("a blocking call would stop the event loop of this thread: await instead")


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    if current() is not BLOCKING:
        work.close()
        _refuse_in_a_loop()
    return _outside(finish(work))


def _outside(result: Any) -> Any:
    """The result as the caller may use it: wrapped when it has something to await itself."""
    return _behind(result) if _has_awaits(type(result)) else result


def _behind(thing: object) -> _Blocking:
    return _BlockingPolicy(thing) if isinstance(thing, Policy) else _Blocking(thing)


_KINDS: dict[type, bool] = {}


def _has_awaits(kind: type) -> bool:
    found = _KINDS.get(kind)
    if found is None:
        found = _KINDS[kind] = _looks_async(kind)
    return found


def _looks_async(kind: type) -> bool:
    home = kind.__module__
    if not home.startswith("sdpatterns.") or home.startswith("sdpatterns.core.runtime"):
        return False
    return any(is_async(member) for _, member in inspect.getmembers(kind, callable) if not isinstance(member, type))


class _Blocking(Unawaited):
    """One object behind the door. A method is wrapped when it is first used, then kept."""

    def __init__(self, inside: Any) -> None:
        self._inside = inside

    def __repr__(self) -> str:
        return f"blocking({_title(self._inside)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return blocking, (self._inside,)

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inside, name)
        if not inspect.isroutine(member):
            return _outside(member)
        call = _awaited(member) if is_async(member) else _plain(member)
        self.__dict__[name] = functools.update_wrapper(call, member)
        return call

    def __enter__(self) -> Any:
        entered = _run(self._inside.__aenter__())
        return self if entered is self._inside else _outside(entered)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return bool(finish(self._inside.__aexit__(kind, error, trace)))

    def __iter__(self) -> Iterator[Any]:
        items = self._inside.__aiter__()
        while True:
            try:
                item = _run(items.__anext__())
            except StopAsyncIteration:
                return
            yield item


class _BlockingPolicy(_Blocking):
    """A policy behind the door: it decorates plain functions."""

    def __enter__(self) -> Any:
        raise TypeError(how_to_enter(self._inside, "with"))

    def protect(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        """Decorate a plain function."""
        check_function(self._inside, function)
        if is_async(function):
            raise TypeError(f"{title_of(function)} is async: protect it with the object itself")
        inner = protect_plain(self._inside, function)

        def protected(*args: Any, **kwargs: Any) -> Any:
            _refuse_in_a_loop()
            return inner(*args, **kwargs)

        return bound_to_here(functools.update_wrapper(protected, function), self._inside)

    def __call__(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        """The same as `protect`."""
        return self.protect(function)


def _plain(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return _outside(method(*args, **kwargs))

    return call


def _awaited(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    names = list(inspect.signature(method).parameters)
    if "function" not in names:

        def call(*args: Any, **kwargs: Any) -> Any:
            _refuse_in_a_loop()
            return _outside(finish(method(*args, **kwargs)))

        return call
    # By convention the parameter `function` is the work, which is a plain one on this side.
    place = names.index("function")

    def call_work(*args: Any, **kwargs: Any) -> Any:
        _refuse_in_a_loop()
        work = lifted(args[place])
        return _outside(finish(method(*args[:place], work, *args[place + 1 :], **kwargs)))

    return call_work
