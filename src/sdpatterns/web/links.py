"""Links between pages, in the header that clients follow without reading the body.

```
Link: </orders?cursor=abc>; rel="next", </orders>; rel="first"
```

Source: RFC 8288 (Web Linking), https://www.rfc-editor.org/rfc/rfc8288; RFC 8187 for titles beyond ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

__all__ = ["Link", "link_header", "percent_encoded", "with_parameters"]

_TARGET = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*")
_RELATION = re.compile(r"[a-z][a-z0-9.\-]*|[A-Za-z][A-Za-z0-9+.\-]*:[A-Za-z0-9\-._~:/?#\[\]@!$&()*+,;=%]+")
_ATTR_CHARS = "!#$&+-.^_`|~"
_TARGET_CHARS = "/?:@!$&'()*+,;=[]%"
_PLAIN_TARGET = re.compile(rb"[A-Za-z0-9\-._~/?:@!$&'()*+,;=\[\]]*")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Link(NamedTuple):
    """One link: a URI reference, one or more relation types, and what may be said about it."""

    target: str
    rel: str
    title: str = ""
    type: str = ""
    hreflang: str = ""

    def value(self) -> str:
        """The link as an element of the header. Raises `ValueError` for what cannot stand in one."""
        if not _TARGET.fullmatch(self.target):
            raise ValueError(f"target must be a URI reference, percent-encoded, got {self.target!r}")
        if not self.rel or not all(_RELATION.fullmatch(one) for one in self.rel.split(" ")):
            raise ValueError(f"rel must be relation types, separated by single spaces, got {self.rel!r}")
        extra = [("title", self.title), ("type", self.type), ("hreflang", self.hreflang)]
        said = [_parameter("rel", self.rel), *(_parameter(name, text) for name, text in extra if text)]
        return "; ".join([f"<{self.target}>", *said])


def link_header(links: Iterable[Link]) -> str:
    """The value of a Link header."""
    return ", ".join(link.value() for link in links)


def percent_encoded(target: bytes) -> str:
    """A request's path and query as a link's target: whatever a client sent that cannot stand in one is encoded."""
    if _PLAIN_TARGET.fullmatch(target):
        return target.decode()
    return _LONE_PERCENT.sub("%25", quote(target, safe=_TARGET_CHARS))


def with_parameters(url: str, **changed: str | None) -> str:
    """`url` with these query parameters instead of what it had of them; None leaves one out."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in changed]
    added = [(name, value) for name, value in changed.items() if value is not None]
    return urlunsplit(parts._replace(query=urlencode(kept + added)))


def _parameter(name: str, text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{name} must be printable, got {text!r}")
    if not text.isascii():
        if name != "title":
            raise ValueError(f"{name} must be ASCII, got {text!r}")
        return f"title*=UTF-8''{quote(text, safe=_ATTR_CHARS)}"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{escaped}"'
