"""Holds the keys of a queue against each other: whatever was done, each message stands in one place and is found."""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any, NamedTuple

import redis

from sdpatterns.backends.redis.messages.scripts import queue_keys

PREFIX = "sdp"


class Standing(NamedTuple):
    """One message, as its record says."""

    state: bytes
    order: float
    number: float
    tenant: bytes
    key: bytes


def standing(record: bytes) -> Standing:
    state, _how, _fence, _attempt, due, rank, _published, number, _token = struct.unpack_from(">ccddddddd", record)
    tenant, key, *_ = record[58:].split(b"\0")
    return Standing(state, max(0.0, due + rank), number, tenant, key)


def faults_of(client: redis.Redis, name: str, prefix: str = PREFIX) -> list[str]:
    """What contradicts itself in a queue."""
    last, meta, body, ready, ring, delayed, leases, heads, behind, parked, _credits = queue_keys(prefix, name)
    records: Any = client.hgetall(meta)
    messages = {name: standing(record) for name, record in records.items()}
    found: list[str] = []

    def same(what: str, one: Any, other: Any) -> None:
        if one != other:
            found.append(f"{what}: {one} against {other}")

    def of(state: bytes) -> set[bytes]:
        return {name for name, it in messages.items() if it.state == state}

    same("bodies", set(client.hkeys(body)), set(messages))
    for state, zset in ((b"d", delayed), (b"l", leases), (b"p", parked)):
        same(f"state {state!r}", of(state), set(client.zrange(zset, 0, -1)))
    same(
        "ready",
        {messages[name].tenant + b"\0" + struct.pack(">d", messages[name].order) + name for name in of(b"r")},
        set(client.zrange(ready, 0, -1)),
    )
    same("ring", {messages[name].tenant for name in of(b"r")}, set(client.zrange(ring, 0, -1)))
    same(
        "behind",
        {messages[name].key + b"\0" + struct.pack(">d", messages[name].number) + name for name in of(b"b")},
        set(client.zrange(behind, 0, -1)),
    )
    firsts = {it.key: name for name, it in messages.items() if it.key and it.state in b"rdl"}
    same("heads", client.hgetall(heads), firsts)
    twice = Counter(it.key for it in messages.values() if it.key and it.state in b"rdl")
    same("keys with two first messages", [key for key, count in twice.items() if count > 1], [])
    if messages and not client.exists(last):
        found.append("the time is not kept")
    return found
