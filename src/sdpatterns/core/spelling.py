"""A constructor that was called wrongly answers with the call that was probably meant.

```
Retry(max_attempts=3)   -->  TypeError: Retry has no setting 'max_attempts': did you mean attempts_max=3?
Idempotency("orders")   -->  TypeError: Idempotency needs store: Idempotency("orders", store=MemoryBackend().states)
```

Python itself refuses such a call with a TypeError; only then is anything looked up here, so that a right
call costs nothing. One table translates the parameter names of comparable libraries.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any, TypeVar, cast

__all__ = ["SYNONYMS", "explained", "how_to_enter"]

T = TypeVar("T", bound=Callable[..., Any])

Known = Mapping[str, inspect.Parameter]

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "algo": ("algorithm",),
    "attempts": ("attempts_max",),
    "backend": ("store",),
    "backoff_base": ("base_s",),
    "backoff_factor": ("base_s",),
    "backoff_max": ("max_s",),
    "base": ("base_s",),
    "capacity": ("concurrent_max", "rates"),
    "catch": ("on", "failures"),
    "conn": ("store",),
    "cooldown": ("open_s",),
    "db": ("store",),
    "default": ("alternatives",),
    "delay": ("base_s", "timeout_s"),
    "duration": ("timeout_s", "open_s", "period_s"),
    "exc": ("on", "failures"),
    "exceptions": ("on", "failures"),
    "exclude": ("failures",),
    "expected_exception": ("failures",),
    "expire": ("keep_s", "open_s"),
    "expires_after": ("keep_s",),
    "fail_max": ("consecutive",),
    "failure_threshold": ("consecutive",),
    "failures_max": ("consecutive",),
    "fallback": ("alternatives",),
    "fallback_function": ("alternatives",),
    "half_open_max_calls": ("probes",),
    "handler": ("alternatives",),
    "initial_delay": ("base_s",),
    "interval": ("period_s", "base_s"),
    "jitter": ("backoff", "open_jitter"),
    "key_ttl": ("keep_s",),
    "limit": ("concurrent_max", "rates", "plans", "count"),
    "limits": ("rates", "plans"),
    "lock_timeout": ("lease_s",),
    "max": ("max_s",),
    "max_attempt_number": ("attempts_max",),
    "max_attempts": ("attempts_max",),
    "max_calls": ("concurrent_max", "rates"),
    "max_concurrency": ("concurrent_max",),
    "max_concurrent": ("concurrent_max",),
    "max_concurrent_calls": ("concurrent_max",),
    "max_delay": ("max_s",),
    "max_failures": ("consecutive",),
    "max_keys": ("keys_max",),
    "max_queue": ("queue_max",),
    "max_rate": ("rates",),
    "max_retries": ("attempts_max",),
    "max_time": ("timeout_s",),
    "max_tries": ("attempts_max",),
    "max_value": ("max_s",),
    "max_wait": ("max_wait_s", "max_s"),
    "max_wait_duration": ("max_wait_s",),
    "multiplier": ("base_s", "open_growth"),
    "n": ("attempts_max", "count"),
    "on_error": ("on", "failures"),
    "on_exception": ("on", "failures"),
    "open_duration": ("open_s",),
    "per": ("period_s",),
    "period": ("period_s",),
    "permits": ("concurrent_max", "rates"),
    "policies": ("parts",),
    "predicate": ("on", "failures", "on_result"),
    "queue_size": ("queue_max",),
    "rate": ("rates",),
    "recovery_timeout": ("open_s",),
    "redis": ("store",),
    "redis_url": ("store",),
    "requests": ("rates", "count"),
    "reraise": (),
    "reset_timeout": ("open_s",),
    "retries": ("attempts_max",),
    "retry": ("on",),
    "retry_on": ("on",),
    "seconds": ("timeout_s", "period_s", "max_wait_s"),
    "size": ("concurrent_max", "window", "calls_max"),
    "slots": ("concurrent_max",),
    "stop": ("attempts_max",),
    "storage": ("store",),
    "storage_uri": ("store",),
    "strategy": ("algorithm", "backoff"),
    "success_threshold": ("probe_successes",),
    "success_max": ("probe_successes",),
    "threshold": ("failure_rate", "consecutive"),
    "throw_new_error_on_trip": (),
    "time_period": ("period_s",),
    "timeout": ("timeout_s", "open_s", "lease_s", "max_wait_s"),
    "timezone": ("zone",),
    "times": ("attempts_max", "count"),
    "total": ("attempts_max",),
    "tries": ("attempts_max",),
    "ttl": ("keep_s",),
    "tz": ("zone",),
    "uri": ("store",),
    "url": ("store",),
    "value": ("alternatives",),
    "wait": ("backoff", "base_s"),
    "wait_exp_base": ("backoff",),
    "wait_initial": ("base_s",),
    "wait_jitter": ("backoff",),
    "wait_max": ("max_s",),
    "window_size": ("window",),
}
"""What comparable libraries call a setting, and what it is here: the first that the constructor has."""

_COUNTS_REPEATS = frozenset({"max_retries", "retries", "total"})

_EXAMPLES = {
    "alternatives": "0.0",
    "concurrent_max": "10",
    "count": "100",
    "name": '"orders"',
    "on": "ConnectionError",
    "parts": "Retry(on=ConnectionError), Timeout(2.0)",
    "period": '"month"',
    "period_s": "60.0",
    "plans": "monthly(10_000)",
    "rates": "per_minute(100)",
    "store": "MemoryBackend().states",
    "timeout_s": "2.0",
}
_NUMBERS_NEVER = frozenset({"backoff", "name", "plans", "rates", "store", "window"})
_FOR_NUMBERS = ("attempts_max", "concurrent_max", "timeout_s", "calls_max")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_FIRST = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


def how_to_enter(part: object, word: str) -> str:
    """What is meant by `async with limiter:`. `word` is how the block begins: `async with`, or `with`."""
    kind = type(part).__name__
    called = _LAST_WORD.findall(kind)[-1].lower()
    awaits = "await " if word.startswith("async") else ""
    otherwise = f"decorate a function with @{called}, or write {awaits}{called}.call(function)"
    if hasattr(part, "guard"):
        return f"{kind} is entered through its guard: {word} {called}.guard():  # or guard(key) for one key"
    if hasattr(part, "__aiter__"):
        loop = "async for" if awaits else "for"
        return f"{kind} has no block of its own: {loop} attempt in {called}: with attempt: ...; or {otherwise}"
    return f"{kind} has no block of its own: {otherwise}"


_LAST_WORD = re.compile("[A-Z][a-z]*")


def explained(thing: T) -> T:
    """A decorator for a function or a class: a call that does not fit its parameters says what does.

    **Costs** one more Python call, each time the function is called or an object of the class is built.
    """
    if not isinstance(thing, type):
        return cast("T", _checked(thing.__name__, thing))
    init = vars(thing).get("__init__")
    if init is not None:
        thing.__init__ = _checked(thing.__name__, init)  # type: ignore[misc]
    return cast("T", thing)


def _checked(title: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        """The function; where Python refuses the call, with a better word."""
        try:
            return function(*args, **kwargs)
        except TypeError:
            said = _remedy(title, inspect.signature(function), args, kwargs)
            if said is None:
                raise
        raise TypeError(said)

    return called


def _remedy(title: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """What is wrong with a call, and the right one; None where the call fits the signature."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        pass
    else:
        return None
    known = dict(signature.parameters)
    if "self" in known:
        del known["self"]
        args = args[1:]
    usage = _usage(title, known, args, kwargs)
    return (
        _of_unknown(title, known, kwargs, usage)
        or _of_text(title, args)
        or _of_too_many(title, known, args, usage)
        or _of_missing(title, known, args, kwargs, usage)
        or f"{title} is called like this: {usage}"
    )


def _of_unknown(title: str, known: Known, kwargs: Mapping[str, Any], usage: str) -> str | None:
    for wrong, value in kwargs.items():
        parameter = known.get(wrong)
        if parameter is not None and parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            return f"{title} takes its {wrong} first, without a keyword: {usage}"
        if parameter is None:
            meant = _meant(wrong, known)
            if meant is None:
                return f"{title} has no setting {wrong!r}; it has {', '.join(known)}"
            if known[meant].kind in _FIRST:
                return f"{title} has no setting {wrong!r}: give {meant} first, without a keyword: {usage}"
            return f"{title} has no setting {wrong!r}: did you mean {_setting(wrong, meant, value)}?"
    return None


def _meant(wrong: str, known: Known) -> str | None:
    for candidate in SYNONYMS.get(wrong, ()):
        if candidate in known:
            return candidate
    close = difflib.get_close_matches(wrong, known, n=1)
    return close[0] if close else None


def _setting(wrong: str, meant: str, value: object) -> str:
    if wrong in _COUNTS_REPEATS and isinstance(value, int):
        return f"{meant}={value + 1} (the first attempt counts too)"
    if _is_number(value, meant):
        return f"{meant}={value!r}"
    return f"{meant}={_EXAMPLES.get(meant, '...')}"


def _of_text(title: str, args: Sequence[Any]) -> str | None:
    if title == "Rate" and len(args) == 1 and isinstance(args[0], str):
        return f"Rate takes a count and seconds, got {args[0]!r}: read a text with Rate.parse({args[0]!r})"
    return None


def _of_too_many(title: str, known: Known, args: Sequence[Any], usage: str) -> str | None:
    kinds = [parameter.kind for parameter in known.values()]
    places = sum(kind in _POSITIONAL for kind in kinds)
    if inspect.Parameter.VAR_POSITIONAL in kinds or len(args) <= places:
        return None
    extra = args[places]
    if isinstance(extra, FunctionType):
        return f"{title} needs its settings before it decorates {extra.__qualname__}: write @{usage} above it"
    return f"{title} takes its settings by name, got {_shown(extra)}: {usage}"


def _of_missing(title: str, known: Known, args: Sequence[Any], kwargs: Mapping[str, Any], usage: str) -> str | None:
    missing = [name for place, name in enumerate(known) if _is_missing(known, place, name, args, kwargs)]
    listed = [arg for arg in args if isinstance(arg, list | tuple)]
    several = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in known.values())
    hint = ", with the parts one by one and not in a list" if several and listed else ""
    return f"{title} needs {' and '.join(missing)}: {usage}{hint}" if missing else None


def _is_missing(known: Known, place: int, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    parameter = known[name]
    if parameter.default is not parameter.empty or name in kwargs:
        return False
    if parameter.kind in _POSITIONAL:
        return place >= len(args)
    return parameter.kind is inspect.Parameter.KEYWORD_ONLY


def _usage(title: str, known: Known, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """A whole call: what it cannot do without, with the caller's own values where they are plain ones."""
    said = []
    places = sum(parameter.kind in _POSITIONAL for parameter in known.values())
    number = next((arg for arg in args[places:] if _is_number(arg)), None)
    number_for = None if number is None else next((name for name in _FOR_NUMBERS if name in known), None)
    for place, (name, parameter) in enumerate(known.items()):
        is_needed = parameter.default is parameter.empty or name == "on"
        if parameter.kind in _POSITIONAL and is_needed:
            given = args[place] if place < len(args) else kwargs.get(name)
            said.append(_shown(given, name))
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            said.append(_EXAMPLES.get(name, "..."))
        elif is_needed and name != number_for:
            said.append(f"{name}={_shown(kwargs.get(name), name)}")
    if number_for is not None:
        said.append(f"{number_for}={number!r}")
    return f"{title}({', '.join(said)})"


def _is_number(value: object, field: str = "") -> bool:
    return type(value) in (int, float, bool) and field not in _NUMBERS_NEVER


def _shown(value: object, field: str = "") -> str:
    """A value as the message shows it: numbers and names as they are, of others the type: they may be secret."""
    if isinstance(value, str) and field == "name":
        return f'"{value}"'
    if _is_number(value, field):
        return repr(value)
    return _EXAMPLES.get(field, "...") if field else f"a {type(value).__name__}"
