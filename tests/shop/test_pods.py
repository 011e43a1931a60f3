"""A deployable as in a pod, in a real process on a real Postgres: settings, health, drain, a start that fails."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from sdpatterns.testing.processes import owned_directory
from shop.failures import StartFailed
from shop.settings import PORTS, FleetServers
from shop.stage.dns_addresses import DnsAddresses
from shop.stage.fleet_servers import fleet_servers
from shop.stage.pod_settings import PodSettings, called_by, from_environment

from .conftest import EXAMPLES

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pods on one machine need an address of 127.0.0.0/8 each"
)

ENVIRONMENT = {
    "SHOP_POSTGRES_URL": "postgresql://shop:secret-word@db:5432",
    "SHOP_VALKEY_URL": "redis://valkey:6379",
    "SHOP_PUBLIC_URL": "https://shop.example/",
}
_hosts = (f"127.{os.getpid() % 250 + 2}.{os.getpid() // 250 % 250}.{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetServers]:
    with owned_directory("shop-pods-") as directory:
        directory.chmod(0o711)
        (directory / "data").mkdir()
        with fleet_servers(directory / "data", connections_max=100) as servers:
            assert ended("schema", **told(servers)).startswith("Databases made: catalog, ")
            assert ended("schema", **told(servers)) == "Databases made: none, all are there\n"
            yield servers


def told(servers: FleetServers, **more: str) -> dict[str, str]:
    urls = {"SHOP_POSTGRES_URL": servers.postgres, "SHOP_VALKEY_URL": servers.valkey}
    return {**ENVIRONMENT, **urls, "SHOP_DRAIN_DELAY_S": "1", **more}


def started(*words: str, **variables: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    return subprocess.Popen(
        [sys.executable, "-m", "shop", *words],
        env={**kept, "PYTHONPATH": os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")]), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(*words: str, code: int = 0, **variables: str) -> str:
    process = started(*words, **variables)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return out if code == 0 else err


@contextmanager
def pod(name: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A pod that is open."""
    process = started("pod", name, **variables)
    try:
        assert process.stdout is not None
        while '"open"' not in (line := process.stdout.readline()):
            assert line, process.stderr and process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ENVIRONMENT, "SHOP_HOST": "127.0.0.9", "SHOP_SEED": "7", "SHOP_VISITORS": "3"}.items():
        monkeypatch.setenv(name, value)
    found = from_environment(PodSettings)
    settings = found.settings("catalog", DnsAddresses(called_by("catalog")))
    assert (settings.seed, settings.visitors, settings.public) == (7, 3, "https://shop.example")
    assert settings.storage("cart") == "postgresql+asyncpg://shop:secret-word@db:5432/cart"
    assert settings.own == {name: f"http://127.0.0.9:{PORTS[name]}" for name in ("catalog", "reviews")}
    assert (settings.public_port(), settings.public_host()) == (8080, "shop.example")
    assert "secret-word" not in repr(found)


def test_settings_that_are_wrong_are_named_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"SHOP_POSTGRES_URL": "mysql://shop:secret-word@db", "SHOP_VISITORS": "many", "SHOP_HOST": "localhost"}
    for name, value in {**ENVIRONMENT, **wrong}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SHOP_PUBLIC_URL")
    with pytest.raises(StartFailed) as failure:
        from_environment(PodSettings)
    assert all(name in str(failure.value) for name in (*wrong, "SHOP_PUBLIC_URL"))
    assert "secret-word" not in str(failure.value)


def test_a_pod_needs_only_the_servers_that_its_contexts_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PUBLIC_URL", ENVIRONMENT["SHOP_PUBLIC_URL"])
    monkeypatch.setenv("SHOP_HOST", "127.0.0.9")
    found = from_environment(PodSettings)
    assert found.settings("control", DnsAddresses(called_by("control"))).replica
    for name, variable in {"gateway": "SHOP_VALKEY_URL", "cart": "SHOP_POSTGRES_URL"}.items():
        with pytest.raises(StartFailed, match=f"{variable}: field required"):
            found.settings(name, DnsAddresses(called_by(name)))


def test_a_deployable_asks_for_the_names_of_those_it_calls_and_for_its_own() -> None:
    assert called_by("cart") == {"cart", "catalog"}
    assert called_by("psp") == {"psp", "payments"}
    assert called_by("payments") == {"payments", "psp"}
    assert len(called_by("control")) == 9


def begun(host: str, body: bytes) -> socket.socket:
    """A request of which the last byte is still to come."""
    head = (
        f"PUT /admin/fault HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection = socket.create_connection((host, PORTS["catalog"]), timeout=60)
    connection.sendall(head.encode() + body[:-1])
    return connection


def refuses(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.TransportError:
        return True
    return False


def test_a_pod_that_is_told_to_end_says_so_and_finishes_what_is_in_flight(fleet: FleetServers) -> None:
    host = next(_hosts)
    url = f"http://{host}:{PORTS['catalog']}"
    body = b'{"target": "catalog", "kind": "slow", "percent": 10, "ttl_s": 60, "seed": 1}'
    with pod("catalog", **told(fleet, SHOP_HOST=host, SHOP_DRAIN_DELAY_S="2")) as process:
        assert httpx.get(f"{url}/readyz").status_code == 200
        assert ended("health", "catalog", SHOP_HOST=host) == ended("health", "--url", url) == ""
        assert ended("health", SHOP_HOST=host) == "", "the image's health command is told no name"
        with begun(host, body) as connection:
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None
            while '"leaving"' not in process.stdout.readline():
                pass
            leaving = httpx.get(f"{url}/readyz")
            assert (leaving.status_code, leaving.headers["connection"]) == (503, "close")
            assert httpx.get(f"{url}/livez").status_code == 200
            while not refuses(f"{url}/livez"):
                pass
            connection.sendall(body[-1:])
            assert connection.recv(1_000).startswith(b"HTTP/1.1 200 OK")
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert [json.loads(line)["message"] for line in out.splitlines()][-1] == "closed"
    assert "catalog is not alive" in ended("health", "catalog", SHOP_HOST=host, code=1)
    assert ended("health", SHOP_HOST=host, code=1) == "shop: nothing of the shop listens here\n"


def test_two_replicas_that_start_at_once_fill_one_database(fleet: FleetServers) -> None:
    hosts = [next(_hosts), next(_hosts)]
    with pod("inventory", **told(fleet, SHOP_HOST=hosts[0])), pod("inventory", **told(fleet, SHOP_HOST=hosts[1])):
        codes = [httpx.get(f"http://{host}:{PORTS['inventory']}/readyz").status_code for host in hosts]
    assert codes == [200, 200]


def test_a_pod_without_postgres_says_so_in_one_line_and_can_be_ended_while_it_waits() -> None:
    away = {**ENVIRONMENT, "SHOP_POSTGRES_URL": "postgresql://shop:secret-word@127.0.0.1:1", "SHOP_HOST": next(_hosts)}
    err = ended("pod", "cart", code=1, SHOP_START_WAIT_S="1", **away)
    assert err.startswith("shop: Postgres at 127.0.0.1 does not answer: ")
    assert len(err.splitlines()) == 1
    assert "secret-word" not in err
    waiting = started("pod", "cart", **away)
    assert waiting.stdout is not None
    while '"waiting for Postgres"' not in waiting.stdout.readline():
        pass
    waiting.send_signal(signal.SIGTERM)
    assert waiting.communicate(timeout=120)[1] == ""
    assert waiting.returncode == 0
