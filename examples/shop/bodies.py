"""Request bodies, bounded: what is too long, no JSON or something else altogether becomes a 4xx problem."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from shop.problems import Problem

BODY_MAX_BYTES = 64 * 1024
BODY_MAX_S = 10.0


async def read_body(request: Request) -> bytes:
    """The whole body; 413 as soon as it grows beyond BODY_MAX_BYTES, 408 when it takes longer than BODY_MAX_S."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_MAX_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_MAX_BYTES:
                    raise Problem(413, "content-too-large", f"A body may have at most {BODY_MAX_BYTES} bytes.")
    except TimeoutError:
        raise Problem(408, "body-too-slow", f"A body has to arrive within {BODY_MAX_S:g} s.") from None
    except ClientDisconnect:
        raise Problem(400, "incomplete-body", "The body ended early.") from None
    return bytes(body)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request) -> Any:
    """The body decoded from JSON; 415 for another media type, 400 for what cannot be decoded."""
    if _media_type(request) != "application/json":
        raise Problem(415, "unsupported-media-type", "Send the body as application/json.")
    body = await read_body(request)
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Problem(400, "malformed-json", "The body is missing or is not valid JSON.") from None


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a plain HTML form; the last of equal names counts."""
    if _media_type(request) != "application/x-www-form-urlencoded":
        raise Problem(415, "unsupported-media-type", "Send the form as application/x-www-form-urlencoded.")
    body = await read_body(request)
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=64))
    except ValueError:
        raise Problem(400, "malformed-form", "The form cannot be decoded.") from None
