"""The coding br, by the library brotli.

Source: RFC 7932, https://www.rfc-editor.org/rfc/rfc7932
"""

from __future__ import annotations

try:
    import brotli  # type: ignore[import-untyped] # the library has no types
except ImportError as missing:
    raise ImportError('the coding br needs brotli: pip install "sdpatterns[compression]"') from missing

from sdpatterns.web.encodings import Compressor

__all__ = ["brotli_compressor"]


class _Brotli:
    __slots__ = ("_inside",)

    def __init__(self, quality: int) -> None:
        self._inside = brotli.Compressor(quality=quality)

    def add(self, data: bytes, /) -> bytes:
        return bytes(self._inside.process(data))

    def flush(self) -> bytes:
        return bytes(self._inside.flush())

    def end(self) -> bytes:
        return bytes(self._inside.finish())


def brotli_compressor(quality: int = 4) -> Compressor:
    """A compressor for br; `quality` from 0 (fast) to 11 (small, and too slow for answers)."""
    return _Brotli(quality)
