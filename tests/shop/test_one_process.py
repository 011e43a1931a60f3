"""The shop as a process: how it starts, refuses to start, ends, and comes back after a crash."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import psutil
import pytest

import shop.payments.defences
from shop.__main__ import main
from shop.launch import shop as opened
from shop.serving import bind
from shop.settings import CONTEXTS, WATCHING
from shop.stage.control.service import Control
from shop.stage.stop_signals import stop_signal

from .conftest import EXAMPLES
from .running import command, fill_cart, refused, refused_here, running
from .visitor import DROP, PLENTY, Visitor, checkout_body, visiting

READY_MAX_S = 5.0
RESIDENT_MAX_BYTES = 250 * 2**20
SLOW = {"target": "psp", "kind": "slow", "percent": 100, "ttl_s": 60, "seed": 1}
KEY = {"Idempotency-Key": '"k"'}


def test_the_home_page_loads_quickly_and_is_small(data_dir: Path) -> None:
    with running(data_dir) as running_shop:
        # Processor time, which is all that a start takes: other tests share the machine with this one.
        used = psutil.Process(running_shop.process.pid).cpu_times()
        assert used.user + used.system < READY_MAX_S
        assert running_shop.ready_s < 6 * READY_MAX_S
        assert httpx.get(f"{running_shop.url}/products?q=lamp").status_code == 200
        assert psutil.Process(running_shop.process.pid).memory_info().rss < RESIDENT_MAX_BYTES


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.nightly), signal.SIGTERM])
def test_a_stop_signal_ends_the_shop_in_order(stocked_dir: Path, number: signal.Signals) -> None:
    with running(stocked_dir) as running_shop:
        out, err = running_shop.stop(number)
    assert running_shop.process.returncode == 0
    assert out.splitlines()[-1] == "Closed."
    assert err == ""


@pytest.mark.nightly
def test_a_stop_signal_during_the_start_ends_the_shop_without_a_traceback(data_dir: Path) -> None:
    process = subprocess.Popen(
        command(data_dir, "--port", "0"), cwd=EXAMPLES, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (data_dir / "lock").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")


@pytest.mark.anyio
async def test_a_request_in_flight_is_finished_before_it_closes(
    stocked_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop.payments.defences, "ATTEMPT_S", 4.0)  # more patient than the provider is slow
    async with httpx.AsyncClient(timeout=120) as http:
        async with opened(port=0, data_dir=stocked_dir, seed=1) as settings:
            url = settings.public
            await http.put(f"{url}/api/v1/carts/c/items/{PLENTY}", json={"quantity": 1})
            assert (await http.put(f"{url}/control/api/fault", json=SLOW)).status_code == 200
            buyer = asyncio.create_task(http.post(f"{url}/api/v1/checkout", json=checkout_body("c"), headers=KEY))
            await asyncio.sleep(0.5)
        assert (await buyer).status_code == 201  # it reached every service that it still needed
        with pytest.raises(httpx.ConnectError):
            await http.get(url)


@pytest.mark.anyio
async def test_an_open_page_of_the_control_room_does_not_hold_up_the_end(stocked_dir: Path) -> None:
    """Its stream ends when the shop does: a shop that had to wait for it would cut it off in the end."""
    async with httpx.AsyncClient(timeout=120) as http, AsyncExitStack() as stack:
        async with opened(port=0, data_dir=stocked_dir, seed=1) as settings:
            page = await stack.enter_async_context(http.stream("GET", f"{settings.public}/control/live"))
            lines = page.aiter_lines()
            await anext(lines)
        assert "event: state" in [line async for line in lines]


@pytest.mark.anyio
async def test_the_control_room_ends_before_the_services_that_it_asks(
    stocked_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses: list[str] = []
    answers: list[int] = []
    aclose = Control.aclose

    async def noted(control: Control) -> None:
        async with httpx.AsyncClient(timeout=120) as http:
            answers.extend([(await http.get(f"{address}/livez")).status_code for address in addresses])
        await aclose(control)

    monkeypatch.setattr(Control, "aclose", noted)
    async with opened(port=0, data_dir=stocked_dir, seed=1) as settings:
        addresses += [settings.address(context) for context in CONTEXTS if context != WATCHING]
    assert answers == [200] * len(addresses)


def test_a_second_start_has_the_data_of_the_first(data_dir: Path) -> None:
    with running(data_dir) as running_shop:
        fill_cart(running_shop.url, "c", DROP)
        order = httpx.post(f"{running_shop.url}/api/v1/checkout", json=checkout_body("c"), headers=KEY).json()
        running_shop.stop()
    with running(data_dir) as running_shop:
        assert httpx.get(f"{running_shop.url}/api/v1/orders/{order['order_id']}").json()["status"] == "paid"
        assert httpx.get(f"{running_shop.url}/api/v1/products/{DROP}").json()["available"] == 9


@pytest.mark.anyio
@pytest.mark.parametrize(
    "delay_s",
    [
        pytest.param(0.02, marks=pytest.mark.nightly),
        0.1,
        *(pytest.param(s, marks=pytest.mark.long) for s in (0.0, 0.05, 0.2)),
    ],
)
async def test_a_crash_during_checkouts_leaves_nothing_half_done(stocked_dir: Path, delay_s: float) -> None:
    with running(stocked_dir) as running_shop:
        for number in range(12):
            fill_cart(running_shop.url, f"c{number}", DROP)
        async with httpx.AsyncClient(base_url=running_shop.url, timeout=120) as http:
            buyers = [
                asyncio.create_task(
                    http.post(
                        "/api/v1/checkout",
                        json=checkout_body(f"c{number}"),
                        headers={"Idempotency-Key": f'"crash-{number}"'},
                    )
                )
                for number in range(12)
            ]
            await asyncio.sleep(delay_s)
            os.kill(running_shop.process.pid, signal.SIGKILL)
            answers = await asyncio.gather(*buyers, return_exceptions=True)
    promised = [
        answer.json()["order_id"] for answer in answers if isinstance(answer, httpx.Response) and answer.is_success
    ]
    async with visiting(stocked_dir) as visitor:
        await assert_settled(visitor, promised)


@pytest.mark.anyio
@pytest.mark.long  # the key is held for its lease; in `test_processes` buyers press again while processes are killed
async def test_a_second_press_after_a_crash_buys_once(stocked_dir: Path) -> None:
    with running(stocked_dir) as running_shop:
        fill_cart(running_shop.url, "c", DROP)
        async with httpx.AsyncClient(base_url=running_shop.url, timeout=120) as http:
            await http.put("/control/api/fault", json=SLOW)
            buyer = asyncio.create_task(http.post("/api/v1/checkout", json=checkout_body("c"), headers=KEY))
            await asyncio.sleep(0.5)
            os.kill(running_shop.process.pid, signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                await buyer
    async with visiting(stocked_dir) as visitor:
        async with asyncio.timeout(120):
            while (answer := await visitor.check_out("c", key="k")).status_code != 201:
                assert answer.status_code in {409, 503}  # still settling what the crash left
                visitor.shift.ahead_s = 60.0
                await asyncio.sleep(0.5)
        again = await visitor.check_out("c", key="k")
        assert (again.status_code, again.content) == (201, answer.content)
        await visitor.settled()
        assert await visitor.free(DROP) == 9
        await visitor.all_holds()


async def assert_settled(visitor: Visitor, promised: list[str]) -> None:
    visitor.shift.ahead_s = 60.0
    ended = await visitor.settled()
    for order_id in promised:
        assert (await visitor.get(f"/api/v1/orders/{order_id}"))["status"] == "paid"
    assert await visitor.free(DROP) == 10 - ended.get("paid", 0)
    await visitor.all_holds()


def test_a_port_that_is_taken(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused_here(capsys, data_dir, "--port", str(port))
    assert f"127.0.0.1:{port}" in line
    assert "--port" in line


@pytest.mark.nightly
def test_two_shops_on_neighbouring_ports_and_on_the_same_data(data_dir: Path, tmp_path: Path) -> None:
    with running(data_dir) as first:
        assert "another shop is running" in refused(data_dir, "--port", "0")
        with running(tmp_path / "other") as second:
            assert first.url != second.url


@pytest.mark.parametrize("name", ["catalog", "cart", "ordering", "ordering-keys", "payments", "fulfilment", "psp"])
def test_a_damaged_file(data_dir: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    data_dir.mkdir()
    (data_dir / f"{name}.sqlite3").write_bytes(b"this was a database once" * 1_000)
    line = refused_here(capsys, data_dir, "--port", "0")
    assert f"{name}.sqlite3" in line
    assert "--data-dir" in line


@pytest.mark.nightly
def test_a_file_damaged_in_the_middle(stocked_dir: Path) -> None:
    with running(stocked_dir) as running_shop:
        running_shop.stop()
    path = stocked_dir / "catalog.sqlite3"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * 65_536)
    assert "catalog.sqlite3" in refused(stocked_dir, "--port", "0")


def test_a_file_of_a_later_version(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    data_dir.mkdir()
    with sqlite3.connect(data_dir / "cart.sqlite3") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    assert "version 99" in refused_here(capsys, data_dir, "--port", "0")


@pytest.mark.nightly
@pytest.mark.skipif(not hasattr(psutil, "RLIMIT_FSIZE"), reason="only Linux lets us fill a disk for one process")
def test_a_full_disk_is_reported_and_the_shop_recovers(stocked_dir: Path) -> None:
    with running(stocked_dir) as running_shop:
        fill_cart(running_shop.url, "c", PLENTY)
        process = psutil.Process(running_shop.process.pid)
        process.rlimit(psutil.RLIMIT_FSIZE, (0, -1))
        for _ in range(3):
            refusal = httpx.put(f"{running_shop.url}/api/v1/carts/d/items/{PLENTY}", json={"quantity": 1})
            assert (refusal.status_code, refusal.json()["type"]) == (503, "/problems/storage-unavailable")
            assert "retry-after" in refusal.headers
            answer = httpx.post(f"{running_shop.url}/api/v1/checkout", json=checkout_body("c"), headers=KEY)
            assert answer.status_code == 503
        assert httpx.get(f"{running_shop.url}/products?q=lamp").status_code == 200
        process.rlimit(psutil.RLIMIT_FSIZE, (-1, -1))
        fill_cart(running_shop.url, "d", PLENTY)
        answer = httpx.post(f"{running_shop.url}/api/v1/checkout", json=checkout_body("d"), headers=KEY)
        assert answer.status_code == 201
        process.rlimit(psutil.RLIMIT_FSIZE, (0, -1))
        assert httpx.get(f"{running_shop.url}/").status_code == 200
        _, err = running_shop.stop()
    assert running_shop.process.returncode == 0
    # What measures coverage in the child cannot write either, and says so as it ends: not the shop's word.
    assert "Traceback" not in err.split("Exception ignored in atexit callback")[0]
    assert "cannot write" in err


@pytest.mark.parametrize("name", ["ordering", "ordering-keys"])
def test_a_file_of_another_program(data_dir: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    data_dir.mkdir()
    with sqlite3.connect(data_dir / f"{name}.sqlite3") as connection:
        connection.execute("CREATE TABLE orders (anything)")
    connection.close()
    line = refused_here(capsys, data_dir, "--port", "0")
    assert f"{name}.sqlite3" in line
    assert "not made by this shop" in line


def test_a_log_that_cannot_be_written(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data_dir / "shop.log").mkdir(parents=True)
    line = refused_here(capsys, data_dir, "--port", "0")
    assert "shop.log" in line
    assert "--data-dir" in line


@pytest.mark.parametrize("port", ["abc", "-1", "65536", "1.5", ""])
def test_an_invalid_port_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["up", f"--port={port}"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].endswith("argument --port: must be a whole number from 0 to 65535")


def test_a_data_directory_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert "--data-dir" in refused_here(capsys, tmp_path / "file", "--port", "0")


def test_a_data_directory_that_cannot_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--data-dir" in refused_here(capsys, Path("/proc/nowhere"), "--port", "0")


@pytest.mark.anyio
async def test_signal_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_signal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(120):
            await stop.wait()
    assert signal.getsignal(signal.SIGTERM) is before


def test_listening_sockets_are_declared_as_tcp() -> None:
    with bind(0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # or asyncio leaves Nagle's algorithm on: 40 ms a hop
