"""Queues of messages on Redis: one Lua script for each verb, in one trip."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.credit import RedisCredit
from sdpatterns.backends.redis.failures import Lost, ReplyLost
from sdpatterns.backends.redis.messages.packing import (
    body_of,
    key_in,
    key_word,
    opened_body,
    record_in,
    tenant_in,
    tenant_word,
)
from sdpatterns.backends.redis.messages.scripts import QueueVerb, queue_keys, queue_script
from sdpatterns.backends.redis.resources import RedisLoopResources, RedisResources
from sdpatterns.core.keys import check_key
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.tracing import TRACERS, stepped_in_span
from sdpatterns.ports.engine.failures import repeat
from sdpatterns.ports.queue import (
    Capability,
    Claimed,
    Claims,
    Complete,
    DeadLettersDropped,
    Message,
    Parked,
    QueueDepth,
    QueueSettings,
    Requeue,
    Settlement,
    check_claim,
    check_extension,
    check_messages,
    check_settlements,
    kept_reason,
    topic_of,
)

__all__ = ["RedisQueue"]

_CLAIM_MAX = 500
"""A script runs alone on its server, and a claim may give fewer messages than were asked for."""
_PUSHED = -2
_FOLDED_MAX = 500
_PAGE = 200

Words = list[str | bytes]


class _Part(NamedTuple):
    """What one caller adds to a call of a script: its words, and how many answers they give."""

    words: Words
    size: int


class RedisQueue:
    """See `MessageQueue`. What many callers of one turn publish, extend or settle travels in one call of a script.

    Costs: one round trip for each verb. On the server a message takes its payload, its id three times and about
    220 bytes; a queue without messages nothing. A claim gives at most 500 messages. Each verb holds up the server
    while it runs: 200 messages for two to five milliseconds of a busy processor. `depth` looks for `lag_s` among the
    first 100 messages of up to 50 tenants, those that were served longest ago.
    """

    capabilities: frozenset[Capability] = frozenset(
        ("fence", "keyed order", "fair share", "delay", "unique", "redrive")
    )

    def __init__(self, resources: RedisResources, name: str, settings: QueueSettings) -> None:
        self.name = check_key(name)
        self.runtime: Runtime | None = resources.server.runtime
        self.topic = topic_of(name)
        self._settings = settings
        self._resources = resources
        self._keys = queue_keys(resources.server.prefix, name)
        channel, mark, fragment = self.topic.partition("#")
        keep_us = b"%d" % round(settings.parked_keep_s * 1_000_000)
        self._first_words = (resources.server.channel + channel, mark + fragment, keep_us)
        resources.durability.relied_on_by(f"queue {name!r}")

    async def publish(self, messages: Sequence[Message], /) -> Sequence[bool]:
        check_messages(messages, self._settings)
        words: Words = []
        # By it the server knows what this call has published, should its reply be lost.
        token = random.getrandbits(52)
        for place, message in enumerate(messages):
            delay_us, rank_us = round(message.delay_s * 1_000_000), round(message.rank_s * 1_000_000)
            words += (message.id, body_of(message.payload, message.headers), key_word(message.key))
            words += (tenant_word(message.tenant), b"%d" % delay_us, b"%d" % rank_us)
            words += (b"%d" % message.replace, b"%d" % (token + place))
        return await self._folded("publish", words, len(messages))

    async def claim(self, n: int, lease_s: float, /) -> Claims:
        claims, _, _ = await self.claimed(n, lease_s)
        return claims

    async def claimed(
        self, n: int, lease_s: float, *, channel: str = "", leaves_credit: bool = False, credit: bytes = b"0"
    ) -> tuple[Claims, int, bool]:
        """What a claim gives, the server's time, and whether a message was pushed instead: see `RedisCredit`."""
        check_claim(n, lease_s)
        lease_us = round(lease_s * 1_000_000)
        words: Words = [b"%d" % min(n, _CLAIM_MAX), b"%d" % lease_us]
        words += (f"{channel} {lease_us}", b"%d" % leaves_credit, credit)
        # A repeat would claim other messages, so that those of a lost reply wait for the end of their leases.
        reply = await self._called("claim", words, harmless=False)
        due_us, ends_us = reply[:2]
        messages = [self.claimed_of(reply[at], reply[at + 1], reply[at + 2], ends_us) for at in range(2, len(reply), 3)]
        return Claims(messages, None if due_us < 0 else due_us / 1_000_000), ends_us - lease_us, due_us == _PUSHED

    def claimed_of(self, name: bytes, body: bytes, record: bytes, ends_us: int) -> Claimed:
        """A message that the server has leased."""
        payload, headers = opened_body(body)
        fence, attempt, published_us, tenant, key = record_in(record)
        return Claimed(name.decode(), payload, headers, key, tenant, fence, attempt, published_us, ends_us)

    def credit(self, wake: Callable[[], None], /) -> RedisCredit | None:
        """See `PushQueue`. In a cluster the node of the queue does not know who listens at the others."""
        here = self._resources.here()
        return None if here.loop is None or here.server.cluster else RedisCredit(self, here, wake)

    async def extend(self, claims: Sequence[Claimed], lease_s: float, /) -> Sequence[bool]:
        check_extension(lease_s)
        lease_us = b"%d" % round(lease_s * 1_000_000)
        words: Words = []
        for claimed in claims:
            words += (claimed.id, b"%d" % claimed.fence, lease_us)
        return await self._folded("extend", words, len(claims))

    async def settle(self, settlements: Sequence[Settlement], /) -> Sequence[bool]:
        check_settlements(settlements, self._settings)
        words: Words = []
        for settlement in settlements:
            claimed = settlement.claimed
            ended = (claimed.id, b"%d" % claimed.fence, b"%d" % claimed.leased_until_us)
            if isinstance(settlement, Complete):
                words += (b"c", *ended)
            elif isinstance(settlement, Requeue):
                after_us = b"%d" % round(settlement.after_s * 1_000_000)
                words += (b"r", *ended, after_us, b"%d" % settlement.counts, _new_body(settlement))
            else:
                words += (b"p", *ended, kept_reason(settlement.reason))
        return await self._folded("settle", words, len(settlements))

    async def depth(self) -> QueueDepth:
        due, waiting, leased, parked, lag_us = await self._called("depth", (), leaves_doubt=False)
        return QueueDepth(due, waiting, leased, parked, lag_us / 1_000_000)

    async def withdraw(self, ids: Sequence[str], /) -> Sequence[bool]:
        return await self._of_ids("withdraw", ids)

    async def parked(self, limit: int, after: int = 0, /) -> Sequence[Parked]:
        found: list[Parked] = []
        while len(found) < limit:
            size = min(limit - len(found), _PAGE)
            reply = await self._called("parked", [b"%d" % size, b"%d" % after], leaves_doubt=False)
            found += [_parked(reply[at : at + 8]) for at in range(0, len(reply), 8)]
            # A short page is the last one, which saves the call that would find nothing.
            if len(reply) < 8 * size:
                break
            after = found[-1].position
        return found

    async def redrive(self, ids: Sequence[str], /) -> Sequence[bool]:
        return await self._of_ids("redrive", ids)

    async def discard(self, ids: Sequence[str], /) -> Sequence[bool]:
        return await self._of_ids("discard", ids)

    async def _of_ids(self, verb: QueueVerb, ids: Sequence[str]) -> Sequence[bool]:
        words = [check_key(name) for name in ids]
        return [answer == 1 for answer in await self._called(verb, words)] if ids else []

    async def _folded(self, verb: QueueVerb, words: Words, count: int) -> Sequence[bool]:
        """The answers to one caller, together with others of the same turn."""
        if not count:
            return []
        here = self._resources.here()
        work, one = functools.partial(self._calls, here, verb), functools.partial(self._call, here, verb)
        try:
            answers = await self._traced(verb, here.lines.run((self, verb), _Part(words, count), work, one))
        except (Lost, ResponseError) as error:
            raise self._failure(verb, error) from error
        await self._ask_durability(here)
        return [answer == 1 for answer in answers]

    async def _calls(self, here: RedisLoopResources, verb: QueueVerb, parts: Sequence[_Part]) -> Sequence[Any]:
        """The answers to each part, or why there are none: in as few calls as hold up the server for a short time."""
        results: list[Any] = []
        for some in _split(parts):
            try:
                answers = await self._run(here, verb, [word for part in some for word in part.words])
            # The calls before this one were answered: only the callers in it and behind it get the error.
            except (Lost, ResponseError) as error:
                if not results:
                    raise
                return results + [error] * (len(parts) - len(results))
            for part in some:
                results.append(answers[: part.size])
                del answers[: part.size]
        return results

    def _call(self, here: RedisLoopResources, verb: QueueVerb, part: _Part) -> Coroutine[Any, Any, Any]:
        return self._run(here, verb, part.words)

    async def _called(
        self, verb: QueueVerb, words: Sequence[str | bytes], *, harmless: bool = True, leaves_doubt: bool = True
    ) -> Any:
        here = self._resources.here()
        work = self._run(here, verb, words, harmless=harmless, leaves_doubt=leaves_doubt)
        try:
            reply = await self._traced(verb, work)
        except (Lost, ResponseError) as error:
            raise self._failure(verb, error) from error
        await self._ask_durability(here)
        return reply

    async def _run(
        self,
        here: RedisLoopResources,
        verb: QueueVerb,
        words: Sequence[str | bytes],
        *,
        harmless: bool = True,
        leaves_doubt: bool = True,
    ) -> Any:
        script, args = queue_script(verb), [self._resources.shift_us, *self._first_words, *words, b"0"]
        try:
            dropped, *reply = await script.run(here.sender, self._keys, args)
        except Lost as lost:
            # The last word tells the script whether an earlier attempt may have run, so that it looks for its traces.
            args[-1] = b"%d" % isinstance(lost, ReplyLost)
            again = functools.partial(script.run, here.sender, self._keys, args)
            dropped, *reply = await repeat(lost, again, harmless=harmless, leaves_doubt=leaves_doubt)
        if dropped and LISTENERS:
            tell(DeadLettersDropped(name=self.name, count=dropped))
        return reply

    def _traced(self, verb: QueueVerb, work: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        return stepped_in_span(verb, self.name, self._resources.server.facts, work) if TRACERS else work

    def _failure(self, verb: QueueVerb, error: Exception) -> Exception:
        return self._resources.server.failure(error, f"the script queue-{verb} failed")

    async def _ask_durability(self, here: RedisLoopResources) -> None:
        if self._resources.durability.is_due:
            await self._resources.durability.ask(here.seed)


def _split(parts: Sequence[_Part]) -> Sequence[Sequence[_Part]]:
    """In their order, so many together that the server is not held up for long. A caller's part stays whole."""
    if sum(part.size for part in parts) <= _FOLDED_MAX:
        return [parts]
    groups: list[list[_Part]] = [[]]
    size = 0
    for part in parts:
        if groups[-1] and size + part.size > _FOLDED_MAX:
            groups.append([])
            size = 0
        groups[-1].append(part)
        size += part.size
    return groups


def _new_body(requeue: Requeue) -> bytes:
    """What takes the place of the body; nothing where it stays."""
    if requeue.payload is None and requeue.headers is None:
        return b""
    payload, headers = requeue.payload, requeue.headers
    return body_of(
        requeue.claimed.payload if payload is None else payload, requeue.claimed.headers if headers is None else headers
    )


def _parked(words: Sequence[Any]) -> Parked:
    position, name, body, key, tenant, attempt, reason, published = words
    payload, headers = opened_body(body)
    return Parked(
        position=position, id=name.decode(), payload=payload, headers=headers, key=key_in(key),
        tenant=tenant_in(tenant), attempt=attempt, reason=reason.decode(), published_us=published, parked_us=position,
    )  # fmt: skip
