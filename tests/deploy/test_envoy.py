"""A real Envoy in front of two replicas of the shop's catalog, with the chart's own settings for a mesh."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
import yaml
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from deploy.mesh.envoy import Identity, bootstrap
from sdpatterns import Retry
from shop import serving
from shop.contexts import running
from shop.settings import CONTEXTS, Settings

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="the wheel of Envoy is for Linux"),
]
CHART = Path(__file__).parents[2] / "deploy" / "helm" / "shop" / "values.yaml"
PRODUCTS = "/internal/listing?limit=3"
READY_MAX_S = 30.0


def mesh(**changed: Any) -> dict[str, Any]:
    """The chart's settings, and what a test changes in them."""
    shipped: dict[str, Any] = copy.deepcopy(yaml.safe_load(CHART.read_text(encoding="utf-8"))["mesh"])
    assert not changed.keys() - shipped.keys()
    return shipped | changed


class Fails:
    """Fails a part of the requests at random, and counts all of them."""

    def __init__(self, app: ASGIApp, part: float) -> None:
        self._app = app
        self._part = part
        self._dice = random.Random(1)
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        fails = self._dice.random() < self._part
        await (PlainTextResponse("broken", 500) if fails else self._app)(scope, receive, send)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@asynccontextmanager
async def served(*apps: ASGIApp) -> AsyncIterator[list[int]]:
    """The ports on which apps answer."""
    async with AsyncExitStack() as stack:
        doors = [stack.enter_context(serving.bind(0)) for _ in apps]
        servers = {
            str(n): serving.Server(str(n), app, [door]) for n, (app, door) in enumerate(zip(apps, doors, strict=True))
        }
        await stack.enter_async_context(serving.answering(servers))
        yield [door.getsockname()[1] for door in doors]


@asynccontextmanager
async def envoy(
    tmp_path: Path, replicas: list[int], settings: dict[str, Any], who: Identity | None = None
) -> AsyncIterator[int]:
    """The port of an Envoy that is ready."""
    port, admin = free_port(), free_port()
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(bootstrap(port, admin, replicas, settings, who)), encoding="utf-8")
    program = Path(sys.executable).parent / "envoy"
    words = [str(program), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE)  # noqa: ASYNC220 - a fork takes no time
    try:
        async with httpx.AsyncClient() as http, asyncio.timeout(READY_MAX_S):
            while not await answers(http, f"http://127.0.0.1:{admin}/ready"):
                assert process.poll() is None, process.stderr and process.stderr.read().decode()
                await asyncio.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=READY_MAX_S)


async def answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[ASGIApp]:
    """The shop's catalog itself."""
    nowhere = dict.fromkeys(CONTEXTS, ("http://127.0.0.1:9",))
    settings = Settings(data_dir=tmp_path, seed=1, public="http://127.0.0.1:9", addresses=nowhere)
    async with running("catalog", settings) as app:
        yield app


async def failed(port: int, requests: int) -> int:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        return sum([not (await http.get(PRODUCTS)).is_success for _ in range(requests)])


@pytest.mark.nightly
async def test_without_ejection_a_replica_that_fails_half_of_its_requests_fails_a_quarter_of_all(
    tmp_path: Path, catalog: ASGIApp
) -> None:
    off = {**mesh()["ejection"], "consecutiveErrors": 1_000}
    async with served(catalog, Fails(catalog, 0.5)) as replicas, envoy(tmp_path, replicas, mesh(ejection=off)) as port:
        assert 70 <= await failed(port, 400) <= 130


@pytest.mark.nightly
async def test_with_the_charts_ejection_fewer_than_one_request_in_a_hundred_fails(
    tmp_path: Path, catalog: ASGIApp
) -> None:
    bad = Fails(catalog, 0.5)
    async with served(catalog, bad) as replicas, envoy(tmp_path, replicas, mesh()) as port:
        failures = await failed(port, 1_000)
    assert 0 < failures < 10
    assert bad.asked < 60, "it was left out"


@pytest.mark.nightly
async def test_two_repeats_on_other_replicas_hide_it_too(tmp_path: Path, catalog: ASGIApp) -> None:
    off = {**mesh()["ejection"], "consecutiveErrors": 1_000}
    settings = mesh(ejection=off, retries=2)
    async with served(catalog, Fails(catalog, 0.5)) as replicas, envoy(tmp_path, replicas, settings) as port:
        assert await failed(port, 400) == 0


@pytest.mark.parametrize(("retries", "requests"), [(0, 3), (2, 9)], ids=["the chart's own", "both repeat"])
async def test_repeats_of_the_library_and_of_the_mesh_multiply(tmp_path: Path, retries: int, requests: int) -> None:
    """Three attempts here and three there are nine, on a service that is down already."""
    down = Fails(PlainTextResponse("well"), 1.0)
    off = {**mesh()["ejection"], "consecutiveErrors": 1_000}
    settings = mesh(ejection=off, retries=retries) if retries else mesh(ejection=off)
    async with served(down) as replicas, envoy(tmp_path, replicas, settings) as port, httpx.AsyncClient() as http:

        @Retry(on=httpx.HTTPStatusError, attempts_max=3, base_s=0.001, name="listing")
        async def listing() -> None:
            (await http.get(f"http://127.0.0.1:{port}{PRODUCTS}")).raise_for_status()

        with pytest.raises(httpx.HTTPStatusError):
            await listing()
    assert down.asked == requests


async def test_what_is_too_much_at_once_is_refused_at_once(tmp_path: Path) -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await released.wait()
        await PlainTextResponse("well")(scope, receive, send)

    released = asyncio.Event()
    settings = mesh(connectionsMax=2, pendingMax=1)
    async with served(slow) as replicas, envoy(tmp_path, replicas, settings) as port, httpx.AsyncClient() as http:
        asking = [asyncio.create_task(http.get(f"http://127.0.0.1:{port}/")) for _ in range(10)]
        done: set[asyncio.Task[httpx.Response]] = set()
        async with asyncio.timeout(READY_MAX_S):
            while len(done) < 7:
                more, _ = await asyncio.wait(set(asking) - done, return_when=asyncio.FIRST_COMPLETED)
                done |= more
        assert {task.result().status_code for task in done} == {503}
        assert {task.result().headers["x-envoy-overloaded"] for task in done} == {"true"}
        released.set()
        assert [(await task).status_code for task in asking].count(200) == 10 - len(done)


@pytest.fixture
def authority(tmp_path: Path) -> Callable[[str], Identity]:
    """Gives identities that one authority has signed."""
    signs = trustme.CA()
    signs.cert_pem.write_to_path(str(tmp_path / "authority.pem"))

    def signed(name: str) -> Identity:
        made = signs.issue_cert(name)
        made.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}.pem"))
        made.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
        return Identity(tmp_path / f"{name}.pem", tmp_path / f"{name}.key", tmp_path / "authority.pem")

    return signed


def client(trusted: Identity, own: Identity | None) -> httpx.AsyncClient:
    """A client that trusts an authority, and shows a certificate if it has one."""
    context = ssl.create_default_context(cafile=str(trusted.authority))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return httpx.AsyncClient(verify=context)


async def test_mutual_tls_lets_a_member_in_and_refuses_clients_of_another_authority(
    tmp_path: Path, catalog: ASGIApp, authority: Callable[[str], Identity]
) -> None:
    server, member = authority("localhost"), authority("gateway")
    (tmp_path / "elsewhere").mkdir()
    other = trustme.CA()
    made = other.issue_cert("gateway")
    foreign = Identity(tmp_path / "elsewhere" / "own.pem", tmp_path / "elsewhere" / "own.key", server.authority)
    made.cert_chain_pems[0].write_to_path(str(foreign.certificate))
    made.private_key_pem.write_to_path(str(foreign.key))
    async with served(catalog) as replicas, envoy(tmp_path, replicas, mesh(), server) as port:
        url = f"https://localhost:{port}{PRODUCTS}"
        async with client(server, member) as http:
            assert (await http.get(url)).status_code == 200
        for who in (None, foreign):
            async with client(server, who) as http:
                # In TLS 1.3 the refusal may come after the request was sent; httpx gives that alert as it is.
                with pytest.raises((httpx.TransportError, ssl.SSLError)):
                    await http.get(url)
