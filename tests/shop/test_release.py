"""A replica says which release it is and which share of the traffic it wants, and its callers keep to that."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from shop.round_robin import RoundRobinTransport
from shop.serving import bind
from shop.stage.release import SHARE_HEADER, SHARE_PATH, VERSION_HEADER, Release, ReleaseMiddleware

pytestmark = pytest.mark.anyio


def asking(release: Release) -> httpx2.AsyncClient:
    app = ReleaseMiddleware(PlainTextResponse("well"), release)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://shop")


async def test_each_answer_names_the_release_and_its_share() -> None:
    async with asking(Release(version=7, share=0.05)) as http:
        answer = await http.get("/internal/products")
        assert (answer.headers[VERSION_HEADER], answer.headers[SHARE_HEADER]) == ("7", "0.05")
        assert (await http.put(SHARE_PATH, json={"share": 0.25})).json() == {"share": 0.25}
        assert (await http.get("/internal/products")).headers[SHARE_HEADER] == "0.25"


@pytest.mark.parametrize("wrong", [{}, {"share": 2}, {"share": "all"}, {"share": True}, [0.5]])
async def test_a_share_that_is_none_is_refused(wrong: object) -> None:
    async with asking(Release()) as http:
        assert (await http.put(SHARE_PATH, json=wrong)).status_code == 422
        assert (await http.get("/")).headers[SHARE_HEADER] == "0"


async def test_a_bug_hits_each_third_request_or_so_and_no_probe() -> None:
    async with asking(Release(version=2, has_bug=True)) as http:
        statuses = [(await http.get("/internal/products")).status_code for _ in range(100)]
        assert Counter(statuses) == {200: 70, 500: 30}
        assert max(statuses[:number].count(500) / number for number in range(1, 101)) <= 0.34
        assert {(await http.get("/readyz")).status_code for _ in range(10)} == {200}


class Replicas(httpx2.AsyncBaseTransport):
    """Replicas that ask for the shares that a test gives them; a share of None is a replica that is away."""

    def __init__(self, shares: dict[int, float | None]) -> None:
        self.shares = shares
        self.asked: Counter[int] = Counter()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        port = request.url.port or 0
        share = self.shares[port]
        if share is None:
            raise httpx2.ConnectError("refused")
        self.asked[port] += 1
        return httpx2.Response(200, headers={SHARE_HEADER: f"{share:g}"})


async def asked(replicas: Replicas, requests: int) -> dict[int, int]:
    """How often each replica was asked, once its callers know of its share."""
    urls = tuple(f"http://shop:{port}" for port in replicas.shares)
    async with httpx2.AsyncClient(transport=RoundRobinTransport(lambda: urls, replicas), base_url=urls[0]) as http:
        for _ in urls:
            await http.get("/")
        replicas.asked.clear()
        for _ in range(requests):
            await http.get("/")
    return dict(replicas.asked)


async def test_a_replica_gets_the_share_that_it_asks_for() -> None:
    assert await asked(Replicas({1: 0, 2: 0.05}), 100) == {1: 95, 2: 5}
    assert await asked(Replicas({1: 0, 2: 0.5}), 100) == {1: 50, 2: 50}
    found = await asked(Replicas({1: 0, 2: 0, 3: 0.25}), 100)
    assert found[3] == 25
    assert abs(found[1] - found[2]) == 1, "those that ask for no share take turns"


async def test_without_shares_all_replicas_take_turns() -> None:
    assert await asked(Replicas({1: 0, 2: 0, 3: 0}), 99) == {1: 33, 2: 33, 3: 33}


async def test_a_replica_with_a_small_share_answers_where_the_others_are_away() -> None:
    assert await asked(Replicas({1: None, 2: 0.05}), 10) == {2: 10}


def test_callers_are_refused_while_a_port_is_only_taken() -> None:
    """What waited in the queue of a process that takes seconds to start would be answered too late."""
    taken = bind(0, listens=False)
    with contextlib.closing(taken), pytest.raises(ConnectionRefusedError):
        socket.create_connection(taken.getsockname()[:2], timeout=5)
