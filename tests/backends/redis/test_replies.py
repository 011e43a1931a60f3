"""Replies read by our own protocol, from a server of a few lines that says what no real one says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import redis.exceptions

from sdpatterns.backends.redis.connection import PipelinedConnection
from sdpatterns.backends.redis.failures import NotSent, ReplyLost
from sdpatterns.backends.redis.protocol import pack
from sdpatterns.backends.redis.server import Server

pytestmark = pytest.mark.anyio

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
PING = pack("PING")


@asynccontextmanager
async def connected_to(answer: Answer, timeout_s: float = 2.0) -> AsyncIterator[PipelinedConnection]:
    """A connection to a server that greets as Redis does, and then answers to PING with what `answer` writes."""

    served: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        try:
            while data := await reader.read(65_536):
                if b"PING" in data:
                    await answer(data, writer)
                else:
                    writer.write(b"+OK\r\n" * data.count(b"*"))
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = Server(
        url=f"redis://127.0.0.1:{port}", blocking=False, cluster=False, prefix="sdp", timeout_s=timeout_s,
        connections_max=1,
    )  # fmt: skip
    connection = PipelinedConnection(settings)
    try:
        yield connection
    finally:
        await connection.close()
        server.close()
        await asyncio.wait([task for task in served if task is not None], timeout=5)


async def test_a_reply_in_pieces_is_one_reply() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        for piece in (b"*2\r\n$3\r", b"\nab", b"c\r\n:", b"7\r\n"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    async with connected_to(answer) as connection:
        assert await connection.call(PING) == [b"abc", 7]


async def test_a_reply_larger_than_the_buffer() -> None:
    body = b"x" * 1_000_000

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"$%d\r\n%b\r\n" % (len(body), body))

    async with connected_to(answer) as connection:
        assert await connection.call(PING) == body


async def test_a_command_larger_than_the_buffers_of_the_system() -> None:
    async def answer(data: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b":%d\r\n" % len(data))

    async with connected_to(answer) as connection:
        assert await connection.call(PING) == len(PING)
        assert await connection.call(pack("SET", b"y" * 5_000_000)) == b"OK"


async def test_a_reply_to_no_command_ends_the_connection() -> None:
    answers = iter([b"+one\r\n+two\r\n", b"+three\r\n", b"+four\r\n"])

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(next(answers))

    async with connected_to(answer) as connection:
        with pytest.raises(ReplyLost, match="a reply to no command"):
            await connection.call(PING)
        # On a new connection, "two" belongs to no command.
        assert await connection.call(PING) == b"three"


async def test_what_is_no_reply_ends_the_connection() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with connected_to(answer) as connection:
        with pytest.raises(ReplyLost, match="Protocol error"):
            await connection.call(PING)


async def test_what_came_before_it_counts() -> None:
    answers = iter([b"+warm\r\n", b"+first\r\n", b"+second\r\n*x\r\n"])

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(next(answers))

    async with connected_to(answer) as connection:
        assert await connection.call(PING) == b"warm"
        found = await asyncio.gather(*(connection.call(PING) for _ in range(3)), return_exceptions=True)
        assert found[:2] == [b"first", b"second"]
        assert isinstance(found[2], ReplyLost)


async def test_an_end_before_the_reply() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"$3\r\nab")
        writer.close()

    async with connected_to(answer) as connection:
        with pytest.raises(ReplyLost, match="the server closed the connection"):
            await connection.call(PING)


async def test_the_first_of_two_replies_counts_where_the_second_does_not_come() -> None:
    async def answer(data: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+first\r\n")
        if data.count(b"PING") > 1:
            writer.close()

    async with connected_to(answer) as connection:
        assert await connection.call(PING) == b"first"
        alone, one, other = await asyncio.gather(*(connection.call(PING) for _ in range(3)), return_exceptions=True)
        assert (alone, one) == (b"first", b"first")
        assert isinstance(other, ReplyLost)


async def test_replies_that_a_cancelled_caller_left_belong_to_no_other() -> None:
    go_on = asyncio.Event()
    answers = iter([b"of the first", b"of the second", b"of the third"])

    async def answer(data: bytes, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        for _ in range(data.count(b"PING")):
            writer.write(b"+%b\r\n" % next(answers))

    async with connected_to(answer) as connection:
        first = asyncio.create_task(connection.call(PING))
        await asyncio.sleep(0.05)
        first.cancel()
        second = asyncio.create_task(connection.call(PING))
        await asyncio.sleep(0.05)
        assert not second.done()
        go_on.set()
        assert await second == b"of the second"
        assert await connection.call(PING) == b"of the third"


async def test_a_server_that_is_silent_is_left_within_the_timeout() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        del writer

    async with connected_to(answer, timeout_s=0.2) as connection:
        begin = asyncio.get_running_loop().time()
        with pytest.raises(ReplyLost, match=r"no reply within 0.2 s"):
            await connection.call(PING)
        assert asyncio.get_running_loop().time() - begin < 2


async def test_a_silent_server_is_left_though_each_caller_is_patient_for_less() -> None:
    connections = 0

    async def answer(data: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += writer is not answered[-1]
        answered.append(writer)
        if connections > 1:
            writer.write(b"+back\r\n" * data.count(b"PING"))

    answered: list[asyncio.StreamWriter | None] = [None]
    async with connected_to(answer, timeout_s=0.3) as connection:
        for _ in range(20):
            try:
                async with asyncio.timeout(0.1):
                    assert await connection.call(PING) == b"back"
                break
            except (TimeoutError, ReplyLost, NotSent):
                await asyncio.sleep(0.01)
        else:
            pytest.fail("it never comes back")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"-LOADING the dataset\r\n", NotSent),
        (b"-WRONGTYPE of another kind\r\n", redis.exceptions.ResponseError),
        (b"-READONLY a replica\r\n", redis.exceptions.ReadOnlyError),
    ],
)
async def test_an_error_reply_is_raised_for_its_caller_alone(line: bytes, kind: type[Exception]) -> None:
    answers = iter([b"+warm\r\n", b"+before\r\n", line + b"+behind\r\n"])

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(next(answers))

    async with connected_to(answer) as connection:
        assert await connection.call(PING) == b"warm"
        found = await asyncio.gather(*(connection.call(PING) for _ in range(3)), return_exceptions=True)
        assert found[0] == b"before"
        assert isinstance(found[1], kind)
        assert found[2] == b"behind"
