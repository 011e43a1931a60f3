r"""Many requests in one, and their answers: the plain form of a batch.

```
[{"id": "a", "method": "GET", "path": "/stock/a?full=1"},
 {"id": "b", "method": "POST", "path": "/orders", "headers": {"Idempotency-Key": "\"8e\""}, "body": {"sku": "a"}}]

[{"id": "a", "status": 200, "headers": {"content-type": "application/json"}, "body": {"left": 7}},
 {"id": "b", "status": 503, "headers": {"retry-after": "5", ...}, "body": {"title": "Service Unavailable", ...}}]
```

A body that is JSON comes to the application, and stands in the answer, byte for byte; other text is a
string; anything else in an answer is `body_base64`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple, NoReturn, TypeAlias
from urllib.parse import unquote

from sdpatterns.web.problems import Problem

__all__ = ["Entry", "Item", "ItemAnswer", "answers", "entries"]

HeaderList: TypeAlias = list[tuple[bytes, bytes]]

_ID = re.compile(r"[A-Za-z0-9._~\-]{1,64}")
_TARGET = re.compile(r"(/(?:[A-Za-z0-9\-._~:/@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?:\?((?:[\x21-\x22\x24-\x7e])*))?")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?|")
_JSON = re.compile(r"application/(?:[^;\s]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_MEMBERS = frozenset({"id", "method", "path", "headers", "body"})
_TARGET_CHARS_MAX = 8192


class Item(NamedTuple):
    """One request of a batch. `headers` are its own, the names in lower case."""

    method: str
    raw_path: bytes
    query: bytes
    headers: HeaderList
    body: bytes

    @property
    def path(self) -> str:
        """The path as the application gets it, decoded."""
        return unquote(self.raw_path)


class Entry(NamedTuple):
    """A place in a batch: its id, and the request, or what is wrong with it."""

    id: str
    request: Item | Problem


class ItemAnswer(NamedTuple):
    """What one request of a batch got."""

    status: int
    headers: HeaderList
    body: bytes

    @classmethod
    def of(cls, problem: Problem) -> ItemAnswer:
        """A problem as an answer."""
        return cls(problem.status, problem.headers(), problem.body())


def entries(body: bytes, *, items_max: int, methods: Collection[str], headers: Collection[str]) -> list[Entry]:
    """The requests of a batch. Raises `ValueError` where it is no list of requests with ids of their own.

    A request that asks for what it may not, or cannot be read, is a problem of its own entry.
    """
    try:
        found = _objects(body.decode("utf-8"))
    except (ValueError, RecursionError) as cause:
        raise ValueError("A batch is a JSON list of requests.") from cause
    if not 1 <= len(found) <= items_max:
        raise ValueError(f"A batch has 1 to {items_max} requests, got {len(found)}.")
    ids: list[Any] = [each.get("id") for each in found]
    if not all(isinstance(id_, str) and _ID.fullmatch(id_) for id_ in ids) or len(set(ids)) != len(ids):
        raise ValueError("Each request of a batch has an id of its own, of 1 to 64 letters, digits and ._~-")
    return [Entry(id_, _request(each, methods, headers)) for id_, each in zip(ids, found, strict=True)]


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


# No number is looked at, so that none is too long to be read.
_DECODER = json.JSONDecoder(parse_int=len, parse_constant=_no_number)
_MARK = re.compile(r"[ \t\n\r]*([][{}:,]?)[ \t\n\r]*")


class _Written(NamedTuple):
    """A value, and how it was written."""

    value: Any
    text: str


_ABSENT = _Written(None, "")


def _objects(text: str) -> list[dict[str, Any]]:
    """A list of objects, each `body` as it was written. Raises `ValueError` for anything else."""
    found = []
    _, at = _mark(text, 0, "[")
    mark, at = _mark(text, at, "{]")
    while mark == "{":
        members, at = _members(text, at)
        found.append(members)
        mark, at = _mark(text, at, ",]")
        if mark == ",":
            mark, at = _mark(text, at, "{")
    _check(at == len(text), "more than a list")
    return found


def _members(text: str, at: int) -> tuple[dict[str, Any], int]:
    """The members of the object that has begun there, and where it ends."""
    members = {}
    mark, at = ("", at) if text.startswith('"', at) else _mark(text, at, "}")
    while mark != "}":
        name, at = _DECODER.raw_decode(text, at)
        _check(isinstance(name, str), "a name is a string")
        _, began = _mark(text, at, ":")
        value, at = _DECODER.raw_decode(text, began)
        members[name] = _Written(value, text[began:at]) if name == "body" else value
        mark, at = _mark(text, at, ",}")
    return members, at


def _mark(text: str, at: int, expected: str) -> tuple[str, int]:
    """The mark that comes there, and the place after it; spaces on both sides are passed."""
    found = _MARK.match(text, at)
    if found is None or not found[1] or found[1] not in expected:
        raise ValueError(f"no {expected!r}")
    return found[1], found.end()


def _request(plain: dict[str, Any], methods: Collection[str], headers: Collection[str]) -> Item | Problem:
    try:
        _check(not plain.keys() - _MEMBERS, f"A request has the members {', '.join(sorted(_MEMBERS))}.")
        method = plain.get("method", "GET")
        if not isinstance(method, str) or method not in methods:
            return Problem(status=405, detail=f"In a batch a method is one of {', '.join(sorted(methods))}.")
        raw_path, query = _target(plain.get("path"))
        own = _headers(plain.get("headers", {}), headers)
        body, kind = _body(plain.get("body", _ABSENT), dict(own).get(b"content-type"))
    except ValueError as error:
        return Problem(status=400, detail=str(error))
    return Item(method, raw_path, query, own + kind, body)


def _check(holds: object, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _target(path: object) -> tuple[bytes, bytes]:
    _check(isinstance(path, str) and len(path) <= _TARGET_CHARS_MAX, "A path is a string.")
    found = _TARGET.fullmatch(str(path))
    if found is None or found[1].startswith("//"):
        raise ValueError("A path begins with one slash, and is percent-encoded.")
    return found[1].encode(), (found[2] or "").encode()


def _headers(plain: object, allowed: Collection[str]) -> HeaderList:
    if not isinstance(plain, dict):
        raise ValueError("Headers are an object of strings.")  # noqa: TRY004 - what was sent, not our caller's type
    own = {}
    for name, value in plain.items():
        # Whatever else came with the batch was looked at outside of it, by proxies too: an item
        # must not say it again.
        _check(name.lower() in allowed, f"In a batch a request may bring the headers {', '.join(sorted(allowed))}.")
        _check(isinstance(value, str) and _VALUE.fullmatch(value), "A header is a string of printable characters.")
        own[name.lower().encode()] = value.encode()
    _check(len(own) == len(plain), "A header is given once.")
    return list(own.items())


def _body(written: _Written, kind: bytes | None) -> tuple[bytes, HeaderList]:
    if written.value is None:
        return b"", []
    if kind is None or _JSON.fullmatch(kind.decode()):
        return written.text.encode(), [(b"content-type", b"application/json")] if kind is None else []
    if not isinstance(written.value, str):
        raise ValueError("A body that is no JSON is a string.")  # noqa: TRY004 - what was sent, as above
    return written.value.encode(), []


def answers(found: Iterable[tuple[str, ItemAnswer]]) -> bytes:
    """The answers of a batch as JSON, in the order of its requests."""
    return b"[" + b",".join(_written(id_, answer) for id_, answer in found) + b"]"


def _written(id_: str, answer: ItemAnswer) -> bytes:
    told: dict[str, str] = {}
    for name, value in answer.headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key not in _LEFT_OUT:
            told[key] = f"{told[key]}, {text}" if key in told else text
    head = json.dumps({"id": id_, "status": answer.status, "headers": told}, separators=(",", ":"))[:-1]
    return head.encode() + _shown(answer.body, told) + b"}"


_LEFT_OUT = frozenset({"set-cookie", "content-length", "connection", "keep-alive", "transfer-encoding"})
# Cookies are set by the batch's answer; the others are of a message that is not sent.


def _shown(body: bytes, told: dict[str, str]) -> bytes:
    if not body:
        return b""
    try:
        text = body.decode("utf-8") if "content-encoding" not in told else None
    except UnicodeDecodeError:
        text = None
    if text is None:
        return b',"body_base64":"' + base64.b64encode(body) + b'"'
    return b',"body":' + (body if _is_json(text, told.get("content-type", "")) else json.dumps(text).encode())


def _is_json(text: str, kind: str) -> bool:
    if not _JSON.fullmatch(kind):
        return False
    try:
        _DECODER.decode(text)
    except (ValueError, RecursionError):
        return False
    return True
