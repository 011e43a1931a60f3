"""Every answer bears the security headers, a client's Host decides nothing, and an ambiguous head is refused."""

from __future__ import annotations

import asyncio

import pytest

from shop.headers import HeadersMiddleware
from shop.settings import CONTEXTS

from .visitor import Visitor

pytestmark = pytest.mark.anyio

HEADERS = (b"x-content-type-options: nosniff", b"content-security-policy: ", b"referrer-policy: same-origin")


async def told(address: str, request: bytes) -> tuple[bytes, bool]:
    """What a service answers to these bytes, and whether it closed the connection after that."""
    host, _, port = address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        closes = b"connection: close" in answer.lower()
        return answer, closes
    finally:
        writer.close()


def head(line: str, *headers: str, host: str = "localhost") -> bytes:
    return "\r\n".join((f"{line} HTTP/1.1", f"Host: {host}", *headers, "", "")).encode("latin-1")


async def test_every_answer_of_every_service_has_the_security_headers_once(shared: Visitor) -> None:
    requests = [head(f"GET {path}") for path in ("/livez", "/readyz", "/metrics", "/nowhere", "/internal/pulse")]
    requests += [head("DELETE /livez"), b"nonsense\r\n\r\n"]
    public = [
        head(f"GET {path}")
        for path in (
            "/",
            "/products/",
            "/api/v1/products?limit=1",
            "/api/v1/products/NO",
            "/static/icon.svg",
            "/static/no",
            "/control",
            "/control/static/control.js",
            "/control/api/state",
            "/control/api/no",
            "/control/static",
            "/api/v1/openapi.json",
        )
    ]
    public.append(head("POST /api/v1/batch", "content-type: application/json", "content-length: 70000"))
    public.append(head("GET /control", host="evil.example"))
    asked = [(shared.settings.address(context), request) for context in CONTEXTS for request in requests]
    asked += [(shared.settings.public, request) for request in public]
    wrong = []
    for address, request in asked:
        answer, _ = await told(address, request)
        if any(answer.lower().count(header) != 1 for header in HEADERS):
            wrong.append((request.split(b"\r\n")[0], answer))
    assert wrong == []


async def test_no_redirect_contains_the_host_header_of_the_client(shared: Visitor) -> None:
    paths = ("/products/", "/cart/", "/orders/", "/static", "//evil.example//", "/seller/?maker=Vdara", "/checkout/")
    wrong = []
    for path in paths:
        for line in (f"GET {path}", f"GET http://evil.example{path}"):
            answer, _ = await told(shared.settings.public, head(line, host="evil.example"))
            locations = [part for part in answer.lower().split(b"\r\n") if part.startswith(b"location:")]
            if any(not part.startswith(b"location: /") or part.startswith(b"location: //") for part in locations):
                wrong.append((line, locations))
    assert wrong == []
    answer, _ = await told(shared.settings.public, head("GET /seller/?maker=Vdara", host="evil.example"))
    assert b"location: /seller?maker=Vdara\r\n" in answer


async def test_a_redirect_to_another_site_that_the_app_itself_chose_stays() -> None:
    sent: list[dict[str, object]] = []

    async def app(scope: object, receive: object, send: object) -> None:
        headers = [(b"location", b"https://bank.example/x")]
        await send({"type": "http.response.start", "status": 302, "headers": headers})  # type: ignore[operator]

    async def note(message: dict[str, object]) -> None:
        sent.append(message)

    await HeadersMiddleware(app)({"type": "http", "headers": [(b"host", b"localhost")]}, None, note)  # type: ignore[arg-type]
    assert (b"location", b"https://bank.example/x") in sent[0]["headers"]  # type: ignore[operator]


CHUNKED, EMPTY = "Transfer-Encoding: chunked", b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Length: 5", CHUNKED], EMPTY),
        ([CHUNKED, "Content-Length: 5"], EMPTY),
        (["Content-Length: 2", "Content-Length: 3"], b"{}x"),
        (["Content-Length: 2", "Content-Length: 2"], b"{}"),
        (["Content-Length: 2, 2"], b"{}"),
        (["Content-Length: +2"], b"{}"),
        ([CHUNKED, CHUNKED], EMPTY),
        (["Transfer-Encoding: chunked, gzip"], EMPTY),
        (["Transfer-Encoding: identity"], b""),
        (["X-A: b\r\n c"], b""),
        (["X-A: b\r\n\tc"], b""),
        (["X-A: b\rX-B: c"], b""),
        (["X-A: b\nX-B: c"], b""),
        (["X-A: b\0c"], b""),
        (["X-A : b"], b""),
    ],
    ids=repr,
)
async def test_a_head_that_two_readers_may_understand_differently_is_refused(
    shared: Visitor, lines: list[str], body: bytes
) -> None:
    for address in (shared.settings.public, shared.settings.address("ordering")):
        answer, closes = await told(address, head("POST /api/v1/checkout", *lines) + body)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert closes
