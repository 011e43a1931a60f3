"""What the contracts store: keys, values and codecs that have revealed faults before."""

from __future__ import annotations

from typing import Any

from sdpatterns.core.codec import JsonCodec

__all__ = ["ODD_KEYS", "ODD_VALUES", "BytesCodec", "any_json"]

ODD_KEYS = [
    "", " ", "a", "A", "a ", " a", "a/b", "a%2Fb", "a%252Fb", "{a}", "a}b{", "{", "}", "{}", "%7Ba%7D", "a:b", "a|b",
    "*", "?", "_", "'", '"', "\\", "\x00", "a\x00b", "\n", "\r\n", "\t", "ключ", "鍵", "🔑", "é", "e\u0301", "ß", "SS",
    "\ufeff", "k" * 1024, "k" * 1023 + "j",
]  # fmt: skip
"""Keys that a user may name; all of them are different."""

ODD_VALUES: list[Any] = [
    None, True, 0, -1, 2**53 + 1, 10**30, 0.1, "", "\x00", "|:{}%", "ключ 鍵 🔑", b"", bytes(range(256)), [], {},
    {"nested": [{"a": [1, "2", b"3"]}]}, "x" * 200_000,
]  # fmt: skip


class BytesCodec:
    """Bytes that are stored as they are, whatever they look like."""

    def encode(self, value: bytes, /) -> bytes:
        """The bytes."""
        return value

    def decode(self, data: bytes, /) -> bytes:
        """The bytes."""
        return bytes(data)


def any_json() -> JsonCodec[Any]:
    """A codec for whatever JSON (with bytes) can say."""
    return JsonCodec(lambda value: [value], lambda plain: plain[0])
