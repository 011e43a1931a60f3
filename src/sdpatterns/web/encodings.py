"""Content codings: which one a client wants, and the compressors that there are.

```
Accept-Encoding: br;q=1.0, gzip;q=0.8, *;q=0.1      wish of the client; ties go by the server's order
```

gzip is always there; br and zstd are offered where their libraries are installed, as by
`pip install "sdpatterns[compression]"`.

Source: RFC 9110, 8.4 and 12.5.3; RFC 1952 (gzip), RFC 7932 (br), RFC 8878 and RFC 9659 (zstd).
"""

from __future__ import annotations

import functools
import importlib.util
import re
import zlib
from collections.abc import Sequence
from typing import Protocol

__all__ = ["CODINGS", "Compressor", "Make", "available", "chosen", "gzip"]

_ELEMENT = re.compile(
    r"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?[ \t]*", re.ASCII
)
_CHARS_MAX = 1024


class Compressor(Protocol):
    """One body on its way into a coding."""

    def add(self, data: bytes, /) -> bytes:
        """What of the coded body is ready after `data`."""
        ...

    def flush(self) -> bytes:
        """The rest of what was added so far, so that the client can read all of it now."""
        ...

    def end(self) -> bytes:
        """The end of the coded body."""
        ...


class Make(Protocol):
    """Makes a compressor for a body of `size` bytes; None where the size is not known."""

    def __call__(self, size: int | None = None, /) -> Compressor:
        """A compressor for one body."""
        ...


class _Gzip:
    __slots__ = ("_inside", "add")

    def __init__(self, level: int, size: int | None) -> None:
        window, memory = (15, 8) if size is None else _tables(size)
        # 16 more than the window's bits asks for gzip's own frame.
        self._inside = zlib.compressobj(level, zlib.DEFLATED, 16 + window, memory)
        self.add = self._inside.compress

    def flush(self) -> bytes:
        return self._inside.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._inside.flush()


def _tables(size: int) -> tuple[int, int]:
    """The window's bits and the memory level for a body of `size` bytes.

    zlib clears its tables for each body: those of the largest window (256 KB) take ten times as long as
    compressing 1 KB. A window that holds the whole body, and the 262 bytes that zlib looks ahead, finds the same.
    """
    window = min(15, max(10, (size + 262).bit_length()))
    return window, max(5, window - 7)


def gzip(level: int = 6, *, size: int | None = None) -> Compressor:
    """A compressor for gzip; `level` from 1 (fast) to 9 (small), `size` the bytes of the body where they are known."""
    return _Gzip(level, size)


def _gzip(size: int | None = None) -> Compressor:
    return gzip(size=size)


def _br(_size: int | None = None) -> Compressor:
    from sdpatterns.web.brotli import brotli_compressor

    return brotli_compressor()


def _zstd(_size: int | None = None) -> Compressor:
    from sdpatterns.web.zstandard import zstd_compressor

    return zstd_compressor()


_LIBRARIES: dict[str, tuple[Make, str]] = {"zstd": (_zstd, "zstandard"), "br": (_br, "brotli"), "gzip": (_gzip, "zlib")}

CODINGS = tuple(_LIBRARIES)
"""The codings known here, the one that is best for answers made on the fly first."""


def available(codings: Sequence[str] = CODINGS) -> dict[str, Make]:
    """Those of `codings` whose library is installed, in the same order.

    Raises `ValueError` for one that is not known here.
    """
    unknown = [name for name in codings if name not in _LIBRARIES]
    if unknown:
        raise ValueError(f"codings must be of {', '.join(CODINGS)}, got {unknown[0]!r}")
    return {name: _LIBRARIES[name][0] for name in codings if importlib.util.find_spec(_LIBRARIES[name][1])}


def chosen(lines: Sequence[str], offered: Sequence[str]) -> str | None:
    """The offered coding that the values of Accept-Encoding like best; None to send the body as it is.

    Equal wishes go by the order of `offered`. An element that cannot be read counts for nothing.
    Without the header, and where nothing offered is wanted, the body is sent as it is.
    """
    text = ",".join(lines)
    return _chosen(text if len(text) <= _CHARS_MAX else "", tuple(offered))


@functools.lru_cache(maxsize=256)
def _chosen(text: str, offered: tuple[str, ...]) -> str | None:
    """The same, remembered: browsers and clients send few different headers."""
    wishes = _wishes(text)
    # A client that names codings prefers them to none, unless it says otherwise.
    best, best_q = None, wishes.get("identity", 0.0)
    for name in offered:
        q = wishes.get(name, wishes.get("*", 0.0))
        if q > 0 and (q > best_q or (best is None and q == best_q)):
            best, best_q = name, q
    return best


def _wishes(text: str) -> dict[str, float]:
    found = (_ELEMENT.fullmatch(element) for element in text.split(","))
    read = {each[1].lower(): 1.0 if each[2] is None else float(each[2]) for each in found if each}
    if "x-gzip" in read:
        read.setdefault("gzip", read["x-gzip"])
    return read
