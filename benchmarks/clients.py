"""What our transports and our middleware add to a request of httpx, httpx2 and aiohttp: the client's own time.

python benchmarks/clients.py [rounds]

A server in a process of its own answers at once. Seconds are those of the client's process.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import httpx
import httpx2
from harness import interleaved, report

from sdpatterns import Timeout
from sdpatterns.web import httpx as for_httpx
from sdpatterns.web import httpx2 as for_httpx2
from sdpatterns.web.aiohttp import ClientMiddleware

REQUESTS = 320
AT_ONCE = (1, 16)
PART = Timeout(30.0, name="clients")
SERVER = """
import asyncio
answer = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: 920\\r\\n\\r\\n" + b"x" * 920
async def serve(reader, writer):
    try:
        while await reader.readuntil(b"\\r\\n\\r\\n"):
            writer.write(answer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
Get = Callable[[], Awaitable[Any]]
Opens = Callable[[AsyncExitStack], Awaitable[Get]]


def measured(opens: Opens, at_once: int) -> Callable[[], float]:
    """Seconds per request; connecting does not count."""

    async def many() -> float:
        async with AsyncExitStack() as stack:
            get = await opens(stack)
            await asyncio.gather(*(get() for _ in range(at_once)))
            began = time.process_time()
            for _ in range(REQUESTS // at_once):
                await asyncio.gather(*(get() for _ in range(at_once)))
            return (time.process_time() - began) / REQUESTS

    return lambda: asyncio.run(many())


def by(library: Any, url: str, transport: Callable[[], Any]) -> Opens:
    async def opens(stack: AsyncExitStack) -> Get:
        client = await stack.enter_async_context(library.AsyncClient(transport=transport()))
        return lambda: client.get(url)

    return opens


def by_aiohttp(url: str, *middlewares: ClientMiddleware) -> Opens:
    async def opens(stack: AsyncExitStack) -> Get:
        session = await stack.enter_async_context(aiohttp.ClientSession(middlewares=middlewares))

        async def get() -> bytes:
            async with session.get(url) as answer:
                return await answer.read()

        return get

    return opens


def main(rounds: int) -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/"
            trust1, trust2 = httpx.create_ssl_context(), httpx2.create_ssl_context()

            def plain() -> httpx.AsyncHTTPTransport:
                return httpx.AsyncHTTPTransport(verify=trust1)

            def plain2() -> httpx2.AsyncHTTPTransport:
                return httpx2.AsyncHTTPTransport(verify=trust2)

            def pool() -> for_httpx.AsyncPool:
                return for_httpx.AsyncPool(verify=trust1)

            def pool2() -> for_httpx2.AsyncPool:
                return for_httpx2.AsyncPool(verify=trust2)

            cases = {
                "httpx": by(httpx, url, plain),
                "httpx, AsyncPool": by(httpx, url, pool),
                "httpx, AsyncTransport": by(httpx, url, lambda: for_httpx.AsyncTransport(PART, inner=pool())),
                "httpx2": by(httpx2, url, plain2),
                "httpx2, AsyncPool": by(httpx2, url, pool2),
                "httpx2, AsyncTransport": by(httpx2, url, lambda: for_httpx2.AsyncTransport(PART, inner=pool2())),
                "aiohttp": by_aiohttp(url),
                "aiohttp, ClientMiddleware": by_aiohttp(url, ClientMiddleware(PART)),
            }
            for at_once in AT_ONCE:
                found = interleaved({name: measured(opens, at_once) for name, opens in cases.items()}, rounds)
                report(f"clients_{at_once}_at_once", found, "httpx", ["httpx", "httpcore", "httpx2", "aiohttp"])
        finally:
            server.terminate()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
