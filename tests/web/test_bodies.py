"""Bodies that drip, hang, break off or cannot be decoded: the pipeline sees them, and the deadline ends them."""

from __future__ import annotations

from typing import Any, NamedTuple

import httpx
import httpx2
import pytest

from sdpatterns import CircuitBreaker, Pipeline, Retry, Timeout, with_deadline
from sdpatterns.errors import DeadlineExceeded
from sdpatterns.resilience.breaker import CircuitState
from sdpatterns.web import httpx as ours
from sdpatterns.web import httpx2 as ours2

from .wire import TROUBLE, Wire, wired, wired_in_a_thread

pytestmark = pytest.mark.anyio

ENDLESS = ["/drips", "/hangs", "/last-chunk-never-ends"]


class Library(NamedTuple):
    http: Any
    ours: Any

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        return (self.http.TransportError, self.http.DecodingError, DeadlineExceeded)


@pytest.fixture(params=[Library(httpx, ours), Library(httpx2, ours2)], ids=["httpx", "httpx2"])
def lib(request: pytest.FixtureRequest) -> Library:
    found: Library = request.param
    return found


def retry(lib: Library, attempts_max: int = 3) -> Retry:
    return Retry(on=lib.errors, attempts_max=attempts_max, base_s=0.0, max_s=0.0)


async def test_whatever_goes_wrong_with_an_answer_is_a_failed_attempt(lib: Library) -> None:
    wire = Wire()
    # On a busy machine an attempt that goes well may take longer than the limit, and another is made.
    pipeline = Pipeline(retry(lib, attempts_max=20), Timeout(0.25), name="wire")
    async with (
        wired(wire) as url,
        lib.http.AsyncClient(
            transport=lib.ours.AsyncTransport(pipeline), base_url=url, follow_redirects=True
        ) as client,
    ):
        for path in TROUBLE:
            assert (path, (await client.get(path)).text) == (path, "fine")
    assert min(wire.asked.count(path) for path in TROUBLE) >= 2


async def test_a_breaker_counts_a_body_that_breaks_off(lib: Library) -> None:
    wire = Wire(times=99)
    breaker = CircuitBreaker("wire", consecutive=2)
    async with (
        wired(wire) as url,
        lib.http.AsyncClient(transport=lib.ours.AsyncTransport(breaker), base_url=url) as client,
    ):
        for path in ("/breaks-off", "/not-gzip"):
            with pytest.raises(lib.errors):
                await client.get(path)
    assert breaker.state is CircuitState.OPEN


async def test_the_carried_deadline_ends_a_body(lib: Library) -> None:
    wire = Wire(times=99)
    async with (
        wired(wire) as url,
        lib.http.AsyncClient(
            transport=lib.ours.AsyncTransport(Pipeline(retry(lib), name="wire")), base_url=url, timeout=60.0
        ) as client,
    ):
        for path in [*ENDLESS, "/headers-drip"]:
            with pytest.raises(DeadlineExceeded), with_deadline(0.1):
                await client.get(path)
        for path in ENDLESS:
            with pytest.raises(DeadlineExceeded), with_deadline(0.1):
                await client.get(path, extensions={"reads_body": False})
    assert 0 < len(wire.asked) <= 7, "no attempt is made after the deadline"


async def test_a_body_that_is_streamed_passes_as_it_comes(lib: Library) -> None:
    wire = Wire()
    streams = [
        ("/events", {}, {}),
        ("/gate", {"reads_body": False}, {}),
        ("/gate", {}, {"reads_body": False}),
        ("/gate", {}, {"body_bytes_max": 2}),
    ]
    async with wired(wire) as url:
        for path, extensions, settings in streams:
            wire.may_end.clear()
            transport = lib.ours.AsyncTransport(Timeout(5.0, name="wire"), **settings)
            async with (
                lib.http.AsyncClient(transport=transport, base_url=url) as client,
                client.stream("GET", path, extensions=extensions) as answer,
            ):
                parts = []
                async for part in answer.aiter_bytes():
                    parts.append(part)
                    wire.may_end.set()
            assert parts == [b"first", b"last"]


async def test_a_body_that_was_read_is_the_clients_like_any_other(lib: Library) -> None:
    async with (
        wired(Wire()) as url,
        lib.http.AsyncClient(transport=lib.ours.AsyncTransport(Timeout(5.0, name="wire")), base_url=url) as client,
    ):
        packed = await client.get("/packed")
        assert (packed.text, packed.num_bytes_downloaded < 100) == ("hello" * 100, True)
        assert packed.elapsed.total_seconds() > 0
        async with client.stream("GET", "/packed") as raw:
            assert b"".join([chunk async for chunk in raw.aiter_raw()])[:2] == b"\x1f\x8b"
        assert (await client.get("/large")).text == "firstlast"


async def test_a_bound_that_makes_no_sense_is_refused_when_built(lib: Library) -> None:
    for bound in (-1, 1.5, "8 MiB", True):
        with pytest.raises(ValueError, match="body_bytes_max"):
            lib.ours.AsyncTransport(Timeout(5.0, name="wire"), body_bytes_max=bound)


def test_without_a_loop_a_broken_body_is_a_failed_attempt(lib: Library) -> None:
    wire = Wire()
    paths = ["/breaks-off", "/breaks-off-in-chunks", "/not-gzip", "/redirect-breaks-off"]
    transport = lib.ours.Transport(Pipeline(retry(lib), name="wire"))
    with (
        wired_in_a_thread(wire) as url,
        lib.http.Client(transport=transport, base_url=url, follow_redirects=True) as client,
    ):
        assert [client.get(path).text for path in paths] == ["fine"] * 4
        assert client.get("/packed").text == "hello" * 100
        assert client.get("/large").text == "firstlast"
    assert [wire.asked.count(path) for path in paths] == [2] * 4


def test_without_a_loop_the_carried_deadline_cuts_a_body_off(lib: Library) -> None:
    wire = Wire(times=99)
    transport = lib.ours.Transport(Pipeline(retry(lib), name="wire"))
    with wired_in_a_thread(wire) as url, lib.http.Client(transport=transport, base_url=url, timeout=60.0) as client:
        for path in ENDLESS:
            with pytest.raises(DeadlineExceeded), with_deadline(0.15):
                client.get(path)
            with pytest.raises(DeadlineExceeded), with_deadline(0.15):
                client.get(path, extensions={"reads_body": False})
    assert 0 < len(wire.asked) <= 6, "no attempt is made after the deadline"


def test_without_a_loop_a_stream_passes_as_it_comes(lib: Library) -> None:
    wire = Wire()
    for settings in ({"reads_body": False}, {"body_bytes_max": 2}):
        transport = lib.ours.Transport(Pipeline(retry(lib), name="wire"), **settings)
        with (
            wired_in_a_thread(wire) as url,
            with_deadline(5.0),
            lib.http.Client(transport=transport, base_url=url) as client,
            client.stream("GET", "/large") as answer,
        ):
            assert b"".join(answer.iter_bytes()) == b"firstlast"
