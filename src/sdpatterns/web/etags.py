"""Entity tags, and what a request's conditions on them come to.

```
If-Match ----------- fails --> 412           strong comparison: W/"a" matches nothing
If-Unmodified-Since  fails --> 412           only where there is no If-Match
If-None-Match ------ fails --> 304 | 412     weak comparison; 304 for GET and HEAD
If-Modified-Since -- fails --> 304           only where there is no If-None-Match; GET and HEAD
```

Source: RFC 9110 (HTTP Semantics), 8.8 and 13, https://www.rfc-editor.org/rfc/rfc9110
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from sdpatterns.web.dates import date_of

__all__ = ["ANY", "ETag", "Tags", "conditions", "etag_of", "judged", "parse_etag", "parse_tags", "precondition"]

_TAG = r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"'
_ONE = re.compile(_TAG)
_LIST = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
# A list is read element by element; no cache sends a longer one than this.
_CHARS_MAX = 8192

ANY: Literal["*"] = "*"


class ETag(NamedTuple):
    """An entity tag: `"a"` is strong (the same bytes), `W/"a"` weak (as good as the same)."""

    opaque: str
    weak: bool = False

    def __str__(self) -> str:
        return f'W/"{self.opaque}"' if self.weak else f'"{self.opaque}"'

    def is_same(self, other: ETag) -> bool:
        """The strong comparison: equal, and neither is weak."""
        return not self.weak and self == other

    def is_as_good(self, other: ETag) -> bool:
        """The weak comparison: equal, whether weak or strong."""
        return self.opaque == other.opaque


Tags: TypeAlias = list[ETag] | Literal["*"]


def etag_of(*parts: bytes | str | int, weak: bool = False) -> ETag:
    """A tag made from what decides an answer: its bytes, or a name and a version."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        plain = part if isinstance(part, bytes) else str(part).encode()
        digest.update(b"%d:" % len(plain))
        digest.update(plain)
    return ETag(digest.hexdigest(), weak)


def parse_etag(text: str) -> ETag:
    """One tag, as in the header ETag. Raises `ValueError` for anything else."""
    found = _ONE.fullmatch(text.strip(" \t"))
    if found is None:
        raise ValueError(f"not an entity tag: {text!r}")
    return ETag(found[2], found[1] is not None)


def parse_tags(lines: Sequence[str]) -> Tags:
    """The tags of an If-Match or If-None-Match, or `ANY`. Raises `ValueError` for anything else."""
    text = ", ".join(lines)
    if text.strip(" \t") == ANY:
        return ANY
    if len(text) > _CHARS_MAX or not _LIST.fullmatch(text):
        raise ValueError("not a list of entity tags")
    return [ETag(found[2], bool(found[1])) for found in _ONE.finditer(text)]


def precondition(
    method: str,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    etag: ETag | None,
    modified_at: dt.datetime | None = None,
    exists: bool = True,
) -> Literal[304, 412] | None:
    """What to answer instead of carrying the request out; None to carry it out.

    `etag`, `modified_at` and `exists` tell of the resource as it is now. A list of tags that cannot be
    read is a condition that fails on methods that change something, and none on GET and HEAD. A date
    that cannot be read is none, as the RFC says.
    """
    said = conditions(headers)
    return judged(method, said, etag=etag, modified_at=modified_at, exists=exists) if said else None


def judged(
    method: str,
    said: dict[bytes, list[str]],
    *,
    etag: ETag | None,
    modified_at: dt.datetime | None = None,
    exists: bool = True,
) -> Literal[304, 412] | None:
    """`precondition` for the `conditions` that were read from a request's headers before."""
    reads = method in {"GET", "HEAD"}
    if _forbidden(said, etag, modified_at, exists=exists):
        return 412
    if b"if-none-match" in said:
        if _matches(said[b"if-none-match"], etag, exists=exists, strong=False, unreadable=not reads):
            return 304 if reads else 412
        return None
    since = _date(said.get(b"if-modified-since"))
    if reads and since is not None and modified_at is not None and _whole(modified_at) <= since:
        return 304
    return None


def _forbidden(
    said: dict[bytes, list[str]], etag: ETag | None, modified_at: dt.datetime | None, *, exists: bool
) -> bool:
    if b"if-match" in said:
        return not _matches(said[b"if-match"], etag, exists=exists, strong=True, unreadable=False)
    since = _date(said.get(b"if-unmodified-since"))
    return since is not None and modified_at is not None and _whole(modified_at) > since


def _matches(lines: list[str], etag: ETag | None, *, exists: bool, strong: bool, unreadable: bool) -> bool:
    try:
        tags = parse_tags(lines)
    except ValueError:
        return unreadable
    if isinstance(tags, str):
        return exists
    if etag is None or not exists:
        return False
    return any(etag.is_same(tag) if strong else etag.is_as_good(tag) for tag in tags)


_CONDITIONS = frozenset({b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"})


def conditions(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[str]]:
    """The conditions of a request, by the name of their header in lower case; empty for most requests."""
    said: dict[bytes, list[str]] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in _CONDITIONS:
            said.setdefault(lower, []).append(value.decode("latin-1"))
    return said


def _date(lines: list[str] | None) -> dt.datetime | None:
    return date_of(lines[0]) if lines is not None and len(lines) == 1 else None


def _whole(at: dt.datetime) -> dt.datetime:
    """To the second, which is all that the headers carry; UTC where it does not say."""
    at = at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
    return at.replace(microsecond=0)
