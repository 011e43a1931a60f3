"""The dates of HTTP's headers.

Source: RFC 9110, 5.6.7, https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7
"""

from __future__ import annotations

import datetime as dt
from email.utils import parsedate_to_datetime

__all__ = ["date_of"]

_CHARS_MAX = 64


def date_of(text: str) -> dt.datetime | None:
    """The moment that a header such as If-Modified-Since names, in UTC; None for what is no date.

    That includes a year, or a distance from UTC, that no calendar has.
    """
    if len(text) > _CHARS_MAX or not text.isascii():
        return None
    try:
        found = parsedate_to_datetime(text)
        # A date without a zone is one of UTC, as the older forms that HTTP knows are.
        return found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None
