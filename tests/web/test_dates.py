from __future__ import annotations

import datetime as dt

import pytest

from sdpatterns.web.dates import date_of
from sdpatterns.web.etags import precondition

AT = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
NONE = [
    "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    "Fri, 01 May 2026 12:00:00 +99999999999999",
    "Fri, 01 May 2026 12:00:00 -9999999999",
    "Fri, 01 May 10000 12:00:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "Fri, 01 May 2026 99999999999999999999:00:00 GMT",
    "Fri, 99999999999999999999 May 2026 12:00:00 GMT",
    "Fri, 01 May " + "9" * 5000 + " 12:00:00 GMT",
    "Fri, 01 May -2026 12:00:00 GMT",
    "soon",
    "",
    "\x00",
    "²³, 01 May 2026 12:00:00 GMT",
    "Fri, ٠١ May ²⁰²⁶ 12:00:00 GMT",
]


def test_what_names_no_moment_is_no_date() -> None:
    assert [text for text in NONE if date_of(text) is not None] == []


@pytest.mark.parametrize(
    "text",
    [
        "Fri, 01 May 2026 12:00:00 GMT",
        "Friday, 01-May-26 12:00:00 GMT",
        "Fri May  1 12:00:00 2026",
        "Fri, 01 May 2026 14:00:00 +0200",
        "Fri, 01 May 2026 12:00:00 -0000",
    ],
)
def test_each_form_of_a_date_is_read(text: str) -> None:
    assert date_of(text) == AT


@pytest.mark.parametrize("name", [b"if-modified-since", b"if-unmodified-since"])
def test_a_condition_with_no_date_is_no_condition(name: bytes) -> None:
    for text in NONE:
        said = [(name, text.encode("utf-8"))]
        assert precondition("GET", said, etag=None, modified_at=AT) is None
