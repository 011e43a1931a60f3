"""Where other deployables are in pods: what their names resolve to, asked again, read by every caller at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest

from shop.round_robin import RoundRobinTransport
from shop.settings import CONTEXTS, PORTS, Settings
from shop.stage.control.replicas import Replicas
from shop.stage.dns_addresses import DnsAddresses

pytestmark = pytest.mark.anyio


class Dns:
    """A name server whose answers a test changes."""

    def __init__(self, **hosts: Sequence[str]) -> None:
        self.hosts = dict(hosts)

    async def __call__(self, name: str) -> Sequence[str]:
        if name not in self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return self.hosts[name]


def urls(context: str, *hosts: str) -> tuple[str, ...]:
    return tuple(f"http://{host}:{PORTS[context]}" for host in hosts)


async def test_each_context_has_its_own_port_at_the_addresses_of_its_deployable() -> None:
    addresses = DnsAddresses(["catalog", "cart"], Dns(catalog=["127.0.1.2", "127.0.1.1"]))
    async with addresses.kept():
        assert addresses["catalog"] == urls("catalog", "127.0.1.1", "127.0.1.2")
        assert addresses["reviews"] == urls("reviews", "127.0.1.1", "127.0.1.2")
        assert addresses["cart"] == urls("cart", "cart"), "a name without an answer is an address itself"
        assert set(addresses) == {"catalog", "reviews", "cart"}


async def test_a_lookup_without_an_answer_keeps_the_last_one_and_no_change_is_the_same_list() -> None:
    dns = Dns(cart=["127.0.1.1", "127.0.1.2"])
    addresses = DnsAddresses(["cart"], dns)
    await addresses.look("cart")
    before = addresses["cart"]
    dns.hosts["cart"] = ["127.0.1.2", "127.0.1.1"]
    await addresses.look("cart")
    assert addresses["cart"] is before
    for nothing in ({}, {"cart": []}):
        dns.hosts = dict(nothing)
        await addresses.look("cart")
        assert addresses["cart"] is before
    dns.hosts["cart"] = ["127.0.1.2"]
    await addresses.look("cart")
    assert addresses["cart"] == urls("cart", "127.0.1.2")


async def test_a_name_that_hangs_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop.stage.dns_addresses.FIRST_LOOK_MAX_S", 0.05)
    never = asyncio.Event()

    async def resolve(name: str) -> Sequence[str]:
        if name == "cart":
            await never.wait()
        return ["127.0.1.1"]

    addresses = DnsAddresses(["cart", "catalog"], resolve)
    async with addresses.kept():
        assert addresses["catalog"] == urls("catalog", "127.0.1.1")
        assert addresses["cart"] == urls("cart", "cart")


async def test_callers_follow_the_list_and_leave_a_replica_alone_that_is_about_to_end() -> None:
    dns = Dns(cart=["127.0.1.1"])
    addresses = DnsAddresses(["cart"], dns)
    await addresses.look("cart")
    asked: list[str] = []
    leaving: set[str] = set()

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.host)
        return httpx2.Response(200, headers={"connection": "close"} if request.url.host in leaving else {})

    transport = RoundRobinTransport(lambda: addresses["cart"], httpx2.MockTransport(answer))
    async with httpx2.AsyncClient(transport=transport, base_url="http://cart:9004") as client:
        await client.get("/")
        dns.hosts["cart"] = ["127.0.1.2", "127.0.1.3"]
        await addresses.look("cart")
        asked.clear()
        for _ in range(4):
            await client.get("/")
        assert sorted(asked) == ["127.0.1.2", "127.0.1.2", "127.0.1.3", "127.0.1.3"]
        leaving.add("127.0.1.3")
        asked.clear()
        for _ in range(6):
            await client.get("/")
        assert asked.count("127.0.1.3") == 1


async def test_the_control_room_tells_replicas_apart_while_their_list_changes() -> None:
    """The list changes while the replicas answer: each answer stays with the address that was asked."""
    dns = Dns(**{name: ["127.0.1.1"] for name in CONTEXTS})
    addresses = DnsAddresses(["cart"], dns)
    dns.hosts["cart"] = ["127.0.1.1", "127.0.1.2"]
    await addresses.look("cart")
    everywhere = {**dict.fromkeys(CONTEXTS, ("http://127.0.2.99:1",))}

    class Both(dict[str, tuple[str, ...]]):
        def __getitem__(self, context: str) -> tuple[str, ...]:
            return addresses["cart"] if context == "cart" else everywhere[context]

    async def answer(request: httpx2.Request) -> httpx2.Response:
        dns.hosts["cart"] = ["127.0.1.2", "127.0.1.3"]
        await addresses.look("cart")
        return httpx2.Response(200, json={"pulse": {"of": str(request.url.host)}})

    settings = Settings(data_dir=Path(), seed=1, public="http://shop", addresses=Both(), context="control")
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        pulses = await Replicas(settings, client).pulses(0.0)
    assert {url: pulse["of"] for url, pulse in pulses["cart"].items()} == {
        url: host for host, url in zip(("127.0.1.1", "127.0.1.2"), urls("cart", "127.0.1.1", "127.0.1.2"), strict=True)
    }
