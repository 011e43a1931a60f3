"""The header Fencing-Token: what the doors for ASGI and for WSGI refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from sdpatterns import Lease
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.coordination.lease import FenceRegister
from sdpatterns.errors import BackendUnavailable
from sdpatterns.web.asgi import fences as asgi
from sdpatterns.web.fences import fence_of, fencing
from sdpatterns.web.wsgi import fences as wsgi
from tests.web.asgi.asking import answer
from tests.web.asgi.asking import client as asgi_client
from tests.web.wsgi.serving import client as wsgi_client

Ask = Callable[..., httpx.Response]
URL = "/accounts/seller-7"


class Accounts:
    """An application that counts its requests, behind either door."""

    def __init__(self, kind: str) -> None:
        self.register = FenceRegister("accounts", store=MemoryBackend().states)
        self.kind = kind
        self.runs = 0

    def door(self, **settings: Any) -> Ask:
        """Asks it: method, path, headers."""
        if self.kind == "wsgi":
            guarded = wsgi.FenceMiddleware(self._wsgi, self.register, **settings)
            return wsgi_client(guarded).request
        door = asgi.FenceMiddleware(self._asgi, self.register, **settings)

        async def ask(*words: Any, **more: Any) -> httpx.Response:
            async with asgi_client(door) as client:
                return await client.request(*words, **more)

        return lambda *words, **more: asyncio.run(ask(*words, **more))

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        await answer(send)

    def _wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
        self.runs += 1
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"fine"]


@pytest.fixture(params=["asgi", "wsgi"])
def accounts(request: pytest.FixtureRequest) -> Accounts:
    return Accounts(request.param)


def test_a_holder_that_is_late_is_refused_once_the_next_one_has_read(accounts: Accounts) -> None:
    ask = accounts.door()
    assert ask("GET", URL, headers=fencing(17)).status_code == 200
    assert ask("GET", URL + "/", headers=fencing(23)).status_code == 200
    late = ask("PUT", URL, headers=fencing(17))
    assert (late.status_code, late.headers["content-type"]) == (412, "application/problem+json")
    assert late.json()["title"] == "Precondition Failed"
    assert "retry-after" not in late.headers, "the same request will not be right later"
    assert ask("GET", URL, headers=fencing(17)).status_code == 412
    assert accounts.runs == 2
    assert ask("PUT", URL, headers=fencing(23)).status_code == 200
    assert ask("PUT", "/accounts/seller-8", headers=fencing(1)).status_code == 200


def test_a_change_needs_a_fence_and_a_read_does_not(accounts: Accounts) -> None:
    ask = accounts.door()
    assert [ask(method, URL).status_code for method in ("GET", "HEAD", "OPTIONS")] == [200, 200, 200]
    assert [ask(method, URL).status_code for method in ("PUT", "POST", "PATCH", "DELETE")] == [428] * 4
    assert accounts.runs == 3


def test_what_needs_a_fence_is_yours_to_say(accounts: Accounts) -> None:
    assert accounts.door(required=True)("GET", URL).status_code == 428
    assert accounts.door(required=False)("PUT", URL).status_code == 200
    assert accounts.door(required=lambda _request: True)("GET", URL).status_code == 428


def test_the_resource_is_yours_to_name(accounts: Accounts) -> None:
    everything = accounts.door(resource=lambda _request: "all accounts")
    assert everything("PUT", "/accounts/a", headers=fencing(23)).status_code == 200
    assert everything("PUT", "/accounts/b", headers=fencing(17)).status_code == 412
    nothing = accounts.door(resource=lambda _request: None)
    assert nothing("PUT", "/accounts/a").status_code == 200


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "x", "9" * 19, "1, 2", "١", "7" * 100_000])
def test_what_is_no_fence_is_refused(text: str, accounts: Accounts) -> None:
    with pytest.raises(ValueError, match="has to be one number"):
        fence_of([text])
    if text.isascii() and len(text) < 1000:
        assert accounts.door()("PUT", URL, headers={"Fencing-Token": text}).status_code == 400
    assert accounts.runs == 0


def test_two_fences_are_no_fence() -> None:
    with pytest.raises(ValueError, match="one number"):
        fence_of(["1", "1"])


def test_a_register_that_is_away_lets_nothing_through(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise BackendUnavailable("the store is away")

    monkeypatch.setattr(accounts.register, "check", away)
    assert accounts.door()("PUT", URL, headers=fencing(1)).status_code == 503
    assert accounts.runs == 0


def test_fences_of_a_lease_pass_as_they_are(accounts: Accounts) -> None:
    backend = MemoryBackend()
    lease = Lease("payout", store=backend.states, signals=backend.signals)
    ask = accounts.door()

    async def fence() -> int:
        async with lease.guard("seller-7") as held:
            return held.fence

    older, newer = asyncio.run(fence()), asyncio.run(fence())
    assert [ask("PUT", URL, headers=fencing(each)).status_code for each in (older, newer, older)] == [200, 200, 412]


def test_a_register_whose_store_needs_a_loop_stands_before_no_wsgi_application() -> None:
    register = FenceRegister("accounts", store=RedisBackend.from_url("redis://localhost").states)
    with pytest.raises(TypeError, match="needs asyncio"):
        wsgi.FenceMiddleware(lambda environ, start_response: [], register)


def test_other_kinds_of_connections_pass() -> None:
    seen = list[str]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    door = asgi.FenceMiddleware(app, FenceRegister("accounts", store=MemoryBackend().states))
    asyncio.run(door({"type": "lifespan"}, None, None))  # type: ignore[arg-type] # not called
    assert seen == ["lifespan"]
