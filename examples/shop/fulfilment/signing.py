"""Signed webhooks: an HMAC-SHA256 for each key in use, so that a seller may change to the newest when it likes.

The signed text and the headers are those of Standard Webhooks 1.0 (standardwebhooks.com).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

TOLERANCE_S = 300


def keys_of(seed: int) -> list[bytes]:
    """The newest key and the one before it. Only a demo makes them of a seed: take `secrets.token_bytes(32)`."""
    return [hashlib.sha256(f"webhooks {seed} {number}".encode()).digest() for number in (2, 1)]


def signed(webhook_id: str, body: bytes, keys: Sequence[bytes], now_us: int) -> dict[str, str]:
    """The headers of a webhook: its id, its time, and a signature by each key."""
    at = str(now_us // 1_000_000)
    signatures = " ".join(_signature(webhook_id, at, body, key) for key in keys)
    return {"webhook-id": webhook_id, "webhook-timestamp": at, "webhook-signature": signatures}


def verified(headers: Mapping[str, str], body: bytes, keys: Sequence[bytes], now_us: int) -> bool:
    """Whether one of the signatures is by one of these keys, and not older than `TOLERANCE_S`."""
    webhook_id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (at.isascii() and at.isdigit()) or abs(now_us / 1_000_000 - int(at)) > TOLERANCE_S:
        return False
    given = headers.get("webhook-signature", "").split(" ")
    expected = [_signature(webhook_id, at, body, key) for key in keys]
    return any(hmac.compare_digest(one.encode(), other.encode()) for one in given for other in expected)


def _signature(webhook_id: str, at: str, body: bytes, key: bytes) -> str:
    digest = hmac.new(key, b".".join((webhook_id.encode(), at.encode(), body)), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
