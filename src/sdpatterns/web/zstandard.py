"""The coding zstd, by the library zstandard.

Source: RFC 8878, https://www.rfc-editor.org/rfc/rfc8878; RFC 9659 bounds the window to 8 MiB.
"""

from __future__ import annotations

try:
    import zstandard
except ImportError as missing:
    raise ImportError('the coding zstd needs zstandard: pip install "sdpatterns[compression]"') from missing

from sdpatterns.web.encodings import Compressor

__all__ = ["LEVEL_MAX", "zstd_compressor"]

LEVEL_MAX = 19
"""Higher levels take windows that a client need not accept."""


class _Zstd:
    __slots__ = ("_inside",)

    def __init__(self, level: int) -> None:
        self._inside = zstandard.ZstdCompressor(level=level).compressobj()

    def add(self, data: bytes, /) -> bytes:
        return self._inside.compress(data)

    def flush(self) -> bytes:
        return self._inside.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._inside.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


def zstd_compressor(level: int = 3) -> Compressor:
    """A compressor for zstd; `level` from 1 (fast) to 19 (small, and too slow for answers)."""
    if not 1 <= level <= LEVEL_MAX:
        raise ValueError(f"level must be from 1 to {LEVEL_MAX}, got {level!r}")
    return _Zstd(level)
