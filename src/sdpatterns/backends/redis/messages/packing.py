"""How the parts of a message look on the server.

A body is one byte that says its form, then the headers where there are any, then the payload. A key or a tenant
is a part of the text by which the server sorts, so that it must not have the character that ends it there.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import NamedTuple

from sdpatterns.core.codec import compact_json

__all__ = ["MessageRecord", "body_of", "key_in", "key_word", "opened_body", "record_in", "tenant_in", "tenant_word"]

_BARE = b"0"
_WITH_HEADERS = b"1"


def body_of(payload: bytes, headers: Mapping[str, str]) -> bytes:
    """Headers and payload as one value."""
    if not headers:
        return _BARE + payload
    head = compact_json(dict(headers)).encode()
    return b"%b%08d%b%b" % (_WITH_HEADERS, len(head), head, payload)


def opened_body(body: bytes) -> tuple[bytes, Mapping[str, str]]:
    """The payload and the headers."""
    if body[:1] == _BARE:
        return body[1:], {}
    end = 9 + int(body[1:9])
    return body[end:], json.loads(body[9:end])


def tenant_word(tenant: str) -> str:
    """A tenant as a text without NUL, another one for each tenant."""
    return tenant.replace("%", "%25").replace("\0", "%00") if "%" in tenant or "\0" in tenant else tenant


def tenant_in(word: bytes) -> str:
    """The tenant that the word stands for."""
    text = word.decode()
    return text.replace("%00", "\0").replace("%25", "%") if "%" in text else text


def key_word(key: str | None) -> str:
    """A key as a text without NUL; that of no key is empty."""
    return "" if key is None else "k" + tenant_word(key)


def key_in(word: bytes) -> str | None:
    """The key that the word stands for."""
    return tenant_in(word[1:]) if word else None


_RECORD = struct.Struct(">2xddddddd")


class MessageRecord(NamedTuple):
    """What a record says, by whose form see `prelude.lua`."""

    fence: int
    attempt: int
    published_us: int
    tenant: str
    key: str | None


def record_in(value: bytes) -> MessageRecord:
    """The record of a message that is leased."""
    fence, attempt, _due, _rank, published_us, _number, _token = _RECORD.unpack_from(value)
    tenant, _, key = value[_RECORD.size :].partition(b"\0")
    return MessageRecord(int(fence), int(attempt), int(published_us), tenant_in(tenant), key_in(key))
