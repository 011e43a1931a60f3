"""The versions of an API: which one a request means, and what an answer says about its future.

```
Deprecation: @1767225600                          from when on it should not be used     RFC 9745
Sunset: Wed, 01 Jul 2026 00:00:00 GMT             from when on it may be gone            RFC 8594
Link: </docs/v2>; rel="deprecation", </v2/orders>; rel="successor-version"               RFC 8288, RFC 5829
```
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Sequence
from email.utils import format_datetime

from sdpatterns.core.clock import SYSTEM
from sdpatterns.web.links import Link, link_header, percent_encoded
from sdpatterns.web.problems import Problem

__all__ = ["ByHeader", "ByPath", "Version", "Versions"]

_NAME = re.compile(r"[0-9][A-Za-z0-9._\-]{0,31}")
_PREFIX = re.compile(r"[A-Za-z0-9._~\-]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Version:
    """One version of an API, and how long it has to live.

    `name` begins with a digit (`1`, `2.1`, `2026-01-15`). `deprecated_at` and `sunset_at` are sent to
    clients, and change nothing here: a version is gone when it says `removed=True`, never by itself in
    the middle of a night. `documentation` is a page on the deprecation, `policy` one on the sunset,
    `successor` the name of the version to go to.
    """

    name: str
    deprecated_at: dt.datetime | None = None
    sunset_at: dt.datetime | None = None
    removed: bool = False
    successor: str = ""
    documentation: str = ""
    policy: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name must begin with a digit and be of up to 32 of A-Z a-z 0-9 . _ -, got {self.name!r}")
        for field, at in (("deprecated_at", self.deprecated_at), ("sunset_at", self.sunset_at)):
            if at is not None and at.tzinfo is None:
                raise ValueError(f"{field} must have a time zone, got {at!r}")
        if self.deprecated_at is not None and self.sunset_at is not None and self.sunset_at < self.deprecated_at:
            raise ValueError(f"sunset_at must not be before deprecated_at, got {self.sunset_at!r}")
        link_header(self._pages())

    def is_deprecated(self) -> bool:
        """Whether it is so by now."""
        return self.deprecated_at is not None and self.deprecated_at.timestamp() <= SYSTEM.now_us() / 1e6

    def headers(self, successor_url: str | None = None) -> list[tuple[bytes, bytes]]:
        """What its answers say about it; nothing for a version without an end."""
        told: list[tuple[bytes, bytes]] = []
        if self.deprecated_at is not None:
            told.append((b"deprecation", b"@%d" % int(self.deprecated_at.timestamp())))
        if self.sunset_at is not None:
            told.append((b"sunset", format_datetime(self.sunset_at.astimezone(dt.UTC), usegmt=True).encode()))
        links = self._pages()
        if successor_url is not None:
            links.append(Link(successor_url, "successor-version"))
        if links:
            told.append((b"link", link_header(links).encode()))
        return told

    def _pages(self) -> list[Link]:
        pages = (("deprecation", self.documentation), ("sunset", self.policy))
        return [Link(target, relation, type="text/html") for relation, target in pages if target]


@dataclasses.dataclass(frozen=True)
class ByPath:
    """The first segment of the path names the version: `/v1/orders`. Other paths have none.

    Seen in each link and log, cached without `Vary`, and routed by any proxy: the way to begin with.
    """

    prefix: str = "v"

    vary = b""
    default = None

    def __post_init__(self) -> None:
        """Check the field. Raises `ValueError` naming it."""
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(f"prefix must be of A-Z a-z 0-9 . _ ~ -, got {self.prefix!r}")

    def asked(self, path: str, lines: Sequence[str]) -> str | None:
        """The version that the path names, if any."""
        segment = path[1:].partition("/")[0]
        name = segment.removeprefix(self.prefix)
        return name if segment.startswith(self.prefix) and _NAME.fullmatch(name) else None

    def unknown(self, known: Sequence[str]) -> Problem:
        """There is nothing at such a path."""
        return Problem(status=404, detail="There is no such version.", more={"versions": list(known)})

    def successor(self, target: str, successor: str, *, mount: str = "") -> str | None:
        """The same place in the next version, where the API begins below `mount`."""
        # By its place, as it may be written in other ways (`/%761`), and as a mount may look like it.
        place = mount.count("/") + 1
        segments = target.split("/", place + 1)
        _, mark, query = segments[place].partition("?")
        segments[place] = f"{self.prefix}{successor}{mark}{query}"
        return "/".join(segments)


@dataclasses.dataclass(frozen=True)
class ByHeader:
    """A header of the request names the version: `Accept-Version: 2`; without one it is `default`.

    A header of its own and no parameter of `Accept`, which differs from client to client: a cache that
    had to keep an answer for each `Accept` would keep none. Where `default` is None a request without
    the header is refused.
    """

    name: str = "Accept-Version"
    default: str | None = None

    @property
    def vary(self) -> bytes:
        """The header on which each answer depends."""
        return self.name.encode()

    def asked(self, path: str, lines: Sequence[str]) -> str | None:
        """The version that the header names. Raises `ValueError` for one that names none."""
        if not lines:
            return self.default
        if len(lines) > 1 or not _NAME.fullmatch(lines[0].strip(" \t")):
            raise ValueError(f"{self.name} must name one version.")
        return lines[0].strip(" \t")

    def unknown(self, known: Sequence[str]) -> Problem:
        """The place is there, and not in this form."""
        return Problem(status=406, detail="There is no such version.", more={"versions": list(known)})

    def successor(self, target: str, successor: str, *, mount: str = "") -> str | None:
        """The next version has the same URL, which is no link to it."""
        return None


class Versions:
    """The versions that there are, and the way in which a request names one."""

    def __init__(self, versions: Sequence[Version], by: ByPath | ByHeader) -> None:
        self.by = by
        self._known = {version.name: version for version in versions}
        if len(self._known) != len(versions) or not versions:
            raise ValueError("versions must be one or more, each with a name of its own")
        for version in versions:
            if version.successor and version.successor not in self._known:
                raise ValueError(f"successor must be one of the versions, got {version.successor!r}")
        if by.default is not None and by.default not in self._known:
            raise ValueError(f"default must be one of the versions, got {by.default!r}")
        # What the answers of a version say apart from the request's own successor, which changes with its path.
        self._fixed = {version.name: version.headers() for version in versions}
        self._left = [version.name for version in versions if not version.removed]

    def found(self, path: str, lines: Sequence[str], *, needed: bool = True) -> Version | Problem | None:
        """The version that a request means, what is wrong with it, or None where it means none."""
        try:
            asked = self.by.asked(path, lines)
        except ValueError as error:
            return Problem(status=400, detail=str(error), more={"versions": self._left})
        if asked is None:
            return self._missing() if needed and self.by.vary else None
        return self._known.get(asked) or self.by.unknown(self._left)

    def _missing(self) -> Problem:
        name = self.by.vary.decode()
        return Problem(status=400, detail=f"This API needs the header {name}.", more={"versions": self._left})

    def headers(self, version: Version, target: bytes, *, mount: str = "") -> list[tuple[bytes, bytes]]:
        """What answers of this version say about it, for a request of `target`, a path with its query.

        `mount` is the part of the path in front of the API's own.
        """
        fixed = self._fixed[version.name]
        if not version.successor:
            return list(fixed)
        url = self.by.successor(percent_encoded(target), version.successor, mount=mount)
        if url is None:
            return list(fixed)
        # Written here, because `Link` would check again what is percent-encoded by now.
        link = f'<{url}>; rel="successor-version"'.encode()
        if fixed and fixed[-1][0] == b"link":
            return [*fixed[:-1], (b"link", fixed[-1][1] + b", " + link)]
        return [*fixed, (b"link", link)]

    def gone(self) -> Problem:
        """What a request of a removed version gets."""
        return Problem(status=410, detail="This version is no longer served.", more={"versions": self._left})
