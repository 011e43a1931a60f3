"""The whole apps of the how-to pages, as they stand there, behind real servers."""

from __future__ import annotations

import re
import types
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from sdpatterns.backends.memory import MemoryBackend
from tests.docs.test_blocks import ROOT, compiled, fresh
from tests.web.conftest import Serve
from tests.web.wsgi.serving import serving

pytestmark = pytest.mark.anyio

ANN = {"X-User": "ann", "Idempotency-Key": '"8e03978e"'}


@pytest.fixture
def recipe(request: pytest.FixtureRequest) -> Iterator[types.ModuleType]:
    """The block of a page that makes its whole app, as a module."""
    codes = [code for code, _ in compiled(ROOT / "docs" / "how-to" / f"{request.param}.md", {})]
    with fresh() as module:
        exec(next(code for code in codes if {"create_app", "application"} & set(code.co_names)), vars(module))
        yield module


def whole_app(module: types.ModuleType) -> Any:
    return module.create_app(MemoryBackend())


@pytest.mark.parametrize("recipe", ["fastapi", "litestar"], indirect=True)
async def test_an_order_is_placed_once_and_the_fourth_sending_in_a_minute_refused(recipe: Any, serve: Serve) -> None:
    async with serve(whole_app(recipe)) as url, httpx.AsyncClient(base_url=url) as http:
        first = await http.post("/orders", json={"sku": "a"}, headers=ANN)
        refused = [await http.post("/orders", json={"sku": "b"}, headers=ANN) for _ in range(2)]
        last = await http.post("/orders", json={"sku": "a"}, headers=ANN)
        listed = await http.get("/orders")
    assert (first.status_code, first.json()) == (201, {"number": 1, "by": "ann"})
    assert [answer.status_code for answer in [*refused, last]] == [422, 422, 429]
    assert last.headers["content-type"] == "application/problem+json"
    assert len(listed.json()) == 1
    assert re.match(r'"api";r=5[5-9]', listed.headers["ratelimit"]), "one more each second"


@pytest.mark.parametrize("recipe", ["starlette"], indirect=True)
async def test_the_stack_of_starlette_over_real_sockets(recipe: Any, serve: Serve) -> None:
    async with serve(whole_app(recipe)) as url, httpx.AsyncClient(base_url=url) as http:
        answers = [await http.post("/orders", json={"sku": "a"}, headers=ANN) for _ in range(29)]
        assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
        packed = await http.get("/orders", headers={"X-User": "bob", "Accept-Encoding": "gzip"})
        assert packed.json() == [{"sku": "a"}]
        # One more passes every two seconds, so that a slow machine gets some more through.
        over = [(await http.get("/orders", headers={"X-User": "ann"})).status_code for _ in range(2)]
        while over[-1] == 200 and len(over) < 100:
            over.append((await http.get("/orders", headers={"X-User": "ann"})).status_code)
        assert (over[0], over[-1]) == (200, 429)


@pytest.mark.parametrize("recipe", ["flask"], indirect=True)
def test_flask_behind_eight_threads(recipe: Any) -> None:
    with serving(whole_app(recipe)) as url, httpx.Client(base_url=url) as http, ThreadPoolExecutor(20) as pool:
        posted = list(pool.map(lambda _: http.post("/orders", json={"sku": "a"}, headers=ANN), range(20)))
        searched = list(pool.map(lambda _: http.get("/search/a", headers={"X-User": "bob"}), range(20)))
        assert http.get("/orders").json() == [{"sku": "a"}]
    assert {answer.status_code for answer in posted} <= {201, 409}
    assert Counter(answer.status_code for answer in searched) == {200: 3, 429: 17}


@pytest.mark.parametrize("recipe", ["django"], indirect=True)
def test_django_as_wsgi_behind_eight_threads(recipe: Any) -> None:
    with serving(recipe.application) as url, httpx.Client(base_url=url) as http, ThreadPoolExecutor(20) as pool:
        posted = list(pool.map(lambda _: http.post("/orders", json={"sku": "a"}, headers=ANN), range(20)))
        searched = list(pool.map(lambda _: http.get("/search/a", headers={"X-User": "bob"}), range(20)))
    assert {answer.status_code for answer in posted} <= {201, 409}
    assert recipe.orders == [{"sku": "a"}]
    assert Counter(answer.status_code for answer in searched) == {200: 3, 429: 17}
    assert all("ratelimit" in answer.headers for answer in searched)


@pytest.mark.parametrize("recipe", ["django"], indirect=True)
async def test_django_as_asgi_with_both_kinds_of_views(recipe: Any, serve: Serve) -> None:
    async with serve(recipe.asgi) as url, httpx.AsyncClient(base_url=url) as http:
        paths = ["/search/a", "/async/search/a", "/search/a", "/async/search/a", "/search/a"]
        answers = [await http.get(path, headers={"X-User": "carl"}) for path in paths]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429], "one count for both"
    assert answers[0].headers["ratelimit"].startswith('"api";r=')
    assert answers[-1].headers["content-type"] == "application/problem+json"
