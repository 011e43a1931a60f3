"""Which coding is chosen, and that each compressor gives back what went in."""

from __future__ import annotations

import importlib.util
import sys
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.web.encodings import CODINGS, available, chosen
from sdpatterns.web.zstandard import zstd_compressor

ALL = ("zstd", "br", "gzip")
GZIP = available()["gzip"]


def ungzip(data: bytes) -> bytes:
    return zlib.decompressobj(31).decompress(data)


def unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor(max_window_size=8 * 2**20).decompressobj().decompress(data)


DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": ungzip,
    "br": lambda data: brotli.Decompressor().process(data),
    "zstd": unzstd,
}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("br;q=1.0, gzip;q=0.8, zstd;q=0.1", "br"),
        ("gzip;q=0.9, br;q=0.899", "gzip"),
        ("GZIP;Q=0.5", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "zstd"),
        ("*;q=0.5, zstd;q=0", "br"),
        ("zstd;q=0, br;q=0, gzip;q=0", None),
        ("*;q=0", None),
        ("gzip;q=0, *", "zstd"),
        ("identity", None),
        ("identity, gzip", "gzip"),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0", None),
        ("deflate, compress", None),
        ("", None),
        ("gzip;q=2", None),
        ("gzip;q=-1", None),
        ("gzip;q=0.1234", None),
        ("gzip;q=", None),
        ("gzip;level=9", None),
        ("gzip br", None),
        ("g\x00zip, br", "br"),
        (",,gzip,,", "gzip"),
        ("gzip\t ; q=1", "gzip"),
        ("gzip," * 300, None),
        ("ゆ".encode().decode("latin-1"), None),
    ],
    ids=lambda text: f"{text!a:.40}",
)
def test_the_client_chooses_and_the_order_decides_between_equals(header: str, expected: str | None) -> None:
    assert chosen([header], ALL) == expected


def test_without_a_header_or_an_offer_there_is_no_coding() -> None:
    assert chosen([], ALL) is None
    assert chosen(["gzip"], []) is None
    assert chosen(["gzip;q=0.1", "br"], ALL) == "br"


@given(header=st.text(st.sampled_from("gzipbrstd*;,=q01. \t"), max_size=60))
def test_any_header_is_read(header: str) -> None:
    assert chosen([header], ALL) in {*ALL, None}


@pytest.mark.parametrize("coding", ALL)
@given(parts=st.lists(st.binary(max_size=300), max_size=6))
def test_what_went_in_comes_out_and_each_part_when_flushed(coding: str, parts: list[bytes]) -> None:
    compressor = available()[coding]()
    coded = b""
    for number, part in enumerate(parts, 1):
        coded += compressor.add(part) + compressor.flush()
        assert DECODERS[coding](coded) == b"".join(parts[:number])
    assert DECODERS[coding](coded + compressor.end()) == b"".join(parts)


def test_a_gzip_body_of_known_size_comes_back_and_is_as_small_as_with_the_largest_tables() -> None:
    text = b"".join(b'{"sku": "%d", "left": %d}' % (number * 7919 % 1000, number % 13) for number in range(4_000))
    for size in (0, 1, 500, 761, 762, 763, 3_834, 3_835, 7_930, 16_122, 32_506, 32_507, 90_000):
        whole, known = (make_one.add(text[:size]) + make_one.end() for make_one in (GZIP(None), GZIP(size)))
        assert ungzip(known) == text[:size]
        assert len(known) <= len(whole) * 1.02, size


def test_a_gzip_body_longer_than_it_was_said_to_be_comes_back() -> None:
    compressor = GZIP(10)
    assert ungzip(compressor.add(b"ab" * 50_000) + compressor.end()) == b"ab" * 50_000


def test_the_order_is_kept_and_an_unknown_coding_refused() -> None:
    assert tuple(available()) == CODINGS == ALL
    assert list(available(["gzip", "br"])) == ["gzip", "br"]
    with pytest.raises(ValueError, match="deflate"):
        available(["deflate"])


def test_what_is_not_installed_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def find(name: str, package: Any = None) -> Any:
        return None if name in {"brotli", "zstandard"} else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    assert list(available()) == ["gzip"]


@pytest.mark.parametrize("library", ["brotli", "zstandard"])
def test_a_file_without_its_library_says_what_to_install(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"sdpatterns.web.{library}", raising=False)
    with pytest.raises(ImportError, match=rf"needs {library}: pip install .*sdpatterns\[compression\]"):
        importlib.import_module(f"sdpatterns.web.{library}")


@pytest.mark.parametrize("level", [0, 20])
def test_levels_beyond_the_window_of_the_rfc_are_refused(level: int) -> None:
    with pytest.raises(ValueError, match="level"):
        zstd_compressor(level)
