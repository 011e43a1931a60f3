"""Keys: what a user may name, and how several names become one without ever colliding."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from types import CoroutineType
from typing import Any, TypeAlias

from sdpatterns.core.judging import is_async, title_of

__all__ = ["KEY_BYTES_MAX", "KeyOf", "check_key", "check_name", "join_key", "key_of", "short_key"]

KEY_BYTES_MAX = 1024
"""A longer key is refused: a key is a name, not a payload."""

KeyOf: TypeAlias = Callable[..., str]


def check_name(kind: str, name: str) -> str:
    """The name itself, if it can stand in a key, a metric label and a log line.

    Raises `ValueError` for an empty, overlong or unprintable one, TypeError for what is no name at all.
    """
    if not isinstance(name, str):
        raise TypeError(f"{kind} takes its name first, a string, got {type(name).__name__}")
    if not name or len(name) > 200 or not name.isprintable():
        raise ValueError(f"{kind} needs a name of 1 to 200 printable characters, got {name!r}")
    return name


def check_key(key: object) -> str:
    """The key itself, if it can name a cell on every store.

    Raises TypeError for no string, `ValueError` for an overlong one and for half a character (a lone
    surrogate), which has no bytes.
    """
    if not isinstance(key, str):
        if isinstance(key, CoroutineType):
            key.close()
            raise TypeError(f"a key must be a string, got a coroutine, {key.__qualname__}: make the function plain")
        raise TypeError(f"a key must be a string, got {key!r}")
    if not key.isascii() or len(key) > KEY_BYTES_MAX:
        try:
            size = len(key.encode())
        except UnicodeEncodeError as cause:
            raise ValueError(
                f"a key must be text, got half a character at place {cause.start} of {key[:60]!r}"
            ) from None
        if size > KEY_BYTES_MAX:
            raise ValueError(f"a key must be at most {KEY_BYTES_MAX} bytes long, got {size}")
    return key


def join_key(*parts: str) -> str:
    """Several parts as one key, so that different parts never give the same key."""
    joined = "/".join(parts)
    if "%" not in joined and joined.count("/") == len(parts) - 1:
        # No part has a character that would need an escape, as with most keys.
        return joined
    # A list, because `join` makes one of a generator all the same.
    return "/".join([part.replace("%", "%25").replace("/", "%2F") for part in parts])


def short_key(key: str) -> str:
    """The key itself where each store can hold it, else a digest that no other key has.

    Digested are keys of more than 1,024 bytes, with half a character (a lone surrogate) or with a NUL,
    and those that look like a digest.
    """
    if key.isascii() and len(key) <= KEY_BYTES_MAX and not key.startswith(_DIGESTED) and "\0" not in key:
        return key
    data = key.encode("utf-8", "surrogatepass")
    is_fine = len(data) <= KEY_BYTES_MAX and not _UNFIT.search(key)
    return key if is_fine else _DIGESTED + hashlib.blake2b(data, digest_size=32).hexdigest()


_DIGESTED = "~"
_UNFIT = re.compile("^~|[\0\ud800-\udfff]")


def key_of(key: str | Callable[..., str]) -> Callable[..., Any]:
    """A function from a call's arguments to its key."""
    if callable(key):
        if is_async(key):
            raise TypeError(
                f"a key must come from a plain function, because it is not awaited: {title_of(key)} is async"
            )
        return key
    if not isinstance(key, str):
        raise TypeError(f"a key is a string or a function of the call, got {type(key).__name__}")
    return lambda *_args, **_kwargs: key
