"""What each version of an API is answered with."""

from __future__ import annotations

import datetime as dt
from typing import Any

import http_sf
import pytest
from starlette.responses import Response

from sdpatterns import listen
from sdpatterns.testing.clock import VirtualClock
from sdpatterns.web.asgi.versions import VersionsMiddleware, version_of
from sdpatterns.web.notices import DeprecatedVersionCalled
from sdpatterns.web.versions import ByHeader, ByPath, Version
from tests.web.asgi.asking import client

pytestmark = pytest.mark.anyio

NEW_YEAR = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
JULY = dt.datetime(2026, 7, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2)))
VERSIONS = [
    Version(name="0", removed=True, successor="2", sunset_at=NEW_YEAR),
    Version(
        name="1", deprecated_at=NEW_YEAR, sunset_at=JULY, successor="2", documentation="/docs/v2", policy="/docs/ends"
    ),
    Version(name="2"),
]


class App:
    def __init__(self, **headers: str) -> None:
        self.seen: list[str] = []
        self.headers = headers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(version_of(scope))
        if scope["type"] == "http":
            headers = {name.replace("_", "-"): value for name, value in self.headers.items()}
            await Response(scope["path"], headers=headers)(scope, receive, send)


def versioned(app: Any, by: Any = None, **settings: Any) -> VersionsMiddleware:
    return VersionsMiddleware(app, VERSIONS, name="shop", by=by, **settings)


async def test_by_path_each_version_says_how_long_it_lives() -> None:
    app = App()
    async with client(versioned(app)) as http:
        old = await http.get("/v1/orders/a%20b?page=2")
        new = await http.get("/v2/orders")
        other = await http.get("/health")
    assert (old.status_code, old.text, app.seen) == (200, "/v1/orders/a b", ["1", "2", ""])
    assert old.headers["deprecation"] == "@1767225600"
    parsed, _ = http_sf.parse(old.headers["deprecation"].encode(), tltype="item")  # type: ignore[misc]
    assert parsed == NEW_YEAR
    assert old.headers["sunset"] == "Wed, 01 Jul 2026 00:00:00 GMT"
    assert old.headers["link"] == (
        '</docs/v2>; rel="deprecation"; type="text/html", </docs/ends>; rel="sunset"; type="text/html", '
        '</v2/orders/a%20b?page=2>; rel="successor-version"'
    )
    for answer in (new, other):
        assert not {"deprecation", "sunset", "link", "vary"} & answer.headers.keys()


@pytest.mark.parametrize("path", ["/v3/orders", "/v3", "/v11/orders", "/v1.1/"])
async def test_an_unknown_version_in_the_path_is_a_404_that_names_those_there_are(path: str) -> None:
    app = App()
    async with client(versioned(app)) as http:
        answer = await http.get(path)
    assert (answer.status_code, answer.json()["versions"], app.seen) == (404, ["1", "2"], [])


@pytest.mark.parametrize("path", ["/", "/vouchers", "/v", "/x/v3", "/V1", "/v-1", "/1/orders"])
async def test_other_paths_have_no_version(path: str) -> None:
    app = App()
    async with client(versioned(app)) as http:
        assert (await http.get(path)).status_code == 200
    assert app.seen == [""]


async def test_a_removed_version_is_a_410_with_the_way_on() -> None:
    app = App()
    async with client(versioned(app)) as http:
        answer = await http.get("/v0/orders")
    assert (answer.status_code, answer.json()["versions"], app.seen) == (410, ["1", "2"], [])
    assert answer.headers["link"] == '</v2/orders>; rel="successor-version"'
    assert answer.headers["sunset"] == "Thu, 01 Jan 2026 00:00:00 GMT"


async def test_below_a_mount_the_link_keeps_the_mount() -> None:
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await versioned(App())({**scope, "root_path": "/api"}, receive, send)

    async with client(mounted) as http:
        answer = await http.get("/api/v1/orders")
    assert '</api/v2/orders>; rel="successor-version"' in answer.headers["link"]


async def test_by_header_the_answer_varies_and_the_path_is_the_same() -> None:
    app = App()
    async with client(versioned(app, ByHeader(default="2"))) as http:
        old = await http.get("/orders", headers={"Accept-Version": " 1 "})
        default = await http.get("/v1/orders")
        removed = await http.get("/orders", headers={"Accept-Version": "0"})
    assert app.seen == ["1", "2"]
    assert "successor-version" not in old.headers["link"], "the next version has the same URL"
    assert "deprecation" not in default.headers
    assert removed.status_code == 410
    assert [answer.headers["vary"] for answer in (old, default, removed)] == ["Accept-Version"] * 3


@pytest.mark.parametrize(
    ("lines", "status"),
    [([], 400), (["3"], 406), (["1", "2"], 400), (["1, 2"], 400), ([""], 400), (["x" * 40], 400), (["v1"], 400)],
    ids=str,
)
async def test_by_header_what_names_no_version_is_refused(lines: list[str], status: int) -> None:
    app = App()
    async with client(versioned(app, ByHeader())) as http:
        answer = await http.get("/", headers=[("Accept-Version", line) for line in lines])
        assert (await http.options("/")).status_code == 200, "a browser asks before it may send the header"
    assert (answer.status_code, answer.headers["vary"], answer.json()["versions"]) == (
        status, "Accept-Version", ["1", "2"],
    )  # fmt: skip
    assert app.seen == [""]


async def test_what_the_application_says_itself_stands() -> None:
    app = App(deprecation="@1", link='</own>; rel="help"', vary="accept-version, Cookie")
    async with client(versioned(app, ByHeader("Accept-Version"))) as http:
        answer = await http.get("/", headers={"Accept-Version": "1"})
    assert answer.headers.get_list("deprecation") == ["@1"]
    assert answer.headers["sunset"] == "Wed, 01 Jul 2026 00:00:00 GMT"
    assert answer.headers.get_list("link")[0] == '</own>; rel="help"'
    assert answer.headers.get_list("vary") == ["accept-version, Cookie"]


async def test_each_call_of_a_deprecated_version_is_told_once_it_is_deprecated() -> None:
    heard: list[Any] = []
    with VirtualClock() as clock, listen(heard.append):
        now = dt.datetime.fromtimestamp(clock.now_us() / 1e6, dt.UTC)
        soon = Version(name="1", deprecated_at=now + dt.timedelta(seconds=10))
        app = VersionsMiddleware(App(), [soon], name="shop", caller=lambda scope: "partner-7")
        async with client(app) as http:
            early = await http.get("/v1/orders")
            assert "deprecation" in early.headers
            assert heard == []
            clock.advance(10.0)
            await http.get("/v1/orders")
    assert heard == [DeprecatedVersionCalled(name="shop", version="1", caller="partner-7", path="/v1/orders")]
    assert heard[0].labels() == {"name": "shop", "version": "1"}


async def test_what_is_no_http_passes() -> None:
    app = App()
    await versioned(app, ByHeader())({"type": "websocket", "path": "/v9", "headers": []}, None, None)  # type: ignore[arg-type]
    assert app.seen == [""]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "v1"}, "name"),
        ({"name": "1" * 33}, "name"),
        ({"name": "1", "deprecated_at": dt.datetime(2026, 1, 1)}, "deprecated_at"),  # noqa: DTZ001 - refused for it
        ({"name": "1", "sunset_at": dt.datetime(2026, 1, 1)}, "sunset_at"),  # noqa: DTZ001 - refused for it
        ({"name": "1", "deprecated_at": JULY, "sunset_at": NEW_YEAR}, "sunset_at"),
        ({"name": "1", "documentation": "/a b"}, "target"),
    ],
)
def test_bad_versions_are_refused_by_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Version(**settings)


@pytest.mark.parametrize(
    ("versions", "by", "said"),
    [
        ([], ByPath(), "versions"),
        ([Version(name="1"), Version(name="1")], ByPath(), "versions"),
        ([Version(name="1", successor="2")], ByPath(), "successor"),
        ([Version(name="1")], ByHeader(default="2"), "default"),
    ],
    ids=str,
)
def test_bad_lists_of_versions_are_refused_by_name(versions: Any, by: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        VersionsMiddleware(App(), versions, name="shop", by=by)


@pytest.mark.parametrize(
    ("scope", "link"),
    [
        ({"path": "/v1/o", "raw_path": b"/v1/o", "query_string": b'f={"a":1}'}, "/v2/o?f=%7B%22a%22:1%7D"),
        ({"path": "/v1/o", "raw_path": b"/v1/o", "query_string": b"q=100%&r=%20"}, "/v2/o?q=100%25&r=%20"),
        ({"path": "/v1/o", "raw_path": b"/v1/o", "query_string": b"\xff>; rel=x"}, "/v2/o?%FF%3E;%20rel=x"),
        ({"path": "/v1/caf\xe9", "raw_path": None}, "/v2/caf%C3%A9"),
        ({"path": "/v1/o", "raw_path": b"/%761/o"}, "/v2/o"),
        ({"path": "/v1", "raw_path": b"/v1", "query_string": b"a=/v1"}, "/v2?a=/v1"),
        ({"path": "/v10/v1/o", "raw_path": b"/v10/v1/o", "root_path": "/v10"}, "/v10/v2/o"),
    ],
)
async def test_whatever_is_asked_for_has_its_place_in_the_next_version(scope: dict[str, Any], link: str) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"type": "http", "method": "GET", "headers": [], "query_string": b"", "root_path": "", **scope}
    await versioned(App())(given, None, send)  # type: ignore[arg-type]
    links = dict(sent[0]["headers"])[b"link"].decode()
    assert f'<{link}>; rel="successor-version"' in links


async def test_versions_may_stand_in_the_path_without_a_prefix() -> None:
    app = App()
    async with client(versioned(app, by=ByPath(prefix=""))) as http:
        assert (await http.get("/2/orders")).status_code == 200
        assert (await http.get("/0/orders")).status_code == 410
        assert (await http.get("/orders")).status_code == 200
    assert app.seen == ["2", ""]


@pytest.mark.parametrize("prefix", ["api/v", "/v", "ä", "v?", "%76"])
def test_a_prefix_that_no_path_could_begin_with_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        ByPath(prefix=prefix)
