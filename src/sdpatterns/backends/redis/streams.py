"""A relay's target: a stream of the server, to which an event is added once."""

from __future__ import annotations

from collections.abc import Callable

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.failures import Lost
from sdpatterns.backends.redis.resources import RedisResources
from sdpatterns.backends.redis.scripts import ServerScript
from sdpatterns.core.envelope import EnvelopeMode, Event, check_mode, enclosed
from sdpatterns.core.keys import key_of
from sdpatterns.core.ranges import number, whole
from sdpatterns.core.runtime import Runtime
from sdpatterns.ports.engine.failures import repeat

__all__ = ["RedisStreamTarget"]

_ADD_ONCE = ServerScript("""
-- KEYS: the stream, and the mark of the event. ARGV: for how many ms the mark is kept, how many entries are, then
-- the fields of the entry.
local entry = redis.call('GET', KEYS[2])
if entry then return entry end
entry = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 3))
redis.call('SET', KEYS[2], entry, 'PX', ARGV[1])
return entry
""")


class RedisStreamTarget:
    """Adds events to a Redis stream: `Relay(outbox, redis.stream_target("orders"))`.

    An entry has a field for each header, and `body`. Where events go to several streams, `stream` is a function of
    the event.

    **Keeps**: entries of one subject stand in the stream in order. A stream knows no ids of its own, so a mark for
    each event is kept beside it for `dedupe_s`: an event that comes again before that ends is not added again. The
    consumers of the stream may still get it twice, so take it with an `Inbox`.
    **May fail** with `BackendError`: the relay tries again. **Costs** one round trip, and 150 bytes or so for each
    mark. The stream keeps about `entries_max` entries, the newest ones, whether or not they were read.
    """

    def __init__(
        self,
        resources: RedisResources,
        stream: str | Callable[[Event], str],
        *,
        mode: EnvelopeMode,
        dedupe_s: float,
        entries_max: int,
    ) -> None:
        self.runtime: Runtime | None = resources.server.runtime
        self._resources = resources
        self._stream_of = key_of(stream)
        self._mode: EnvelopeMode = check_mode(mode)
        keep_ms = round(number("dedupe_s", dedupe_s, 1.0, 366 * 86_400.0) * 1000)
        self._first_words = (b"%d" % keep_ms, b"%d" % whole("entries_max", entries_max, 1))
        resources.durability.relied_on_by(f"stream {stream!r}" if isinstance(stream, str) else "a stream")

    async def __call__(self, event: Event) -> None:
        """Add it, unless it is there."""
        headers, body = enclosed(event, self._mode)
        here, server = self._resources.here(), self._resources.server
        stream = self._stream_of(event)
        keys = [stream.encode(), _mark(stream, event.identity).encode()]
        words: list[str | bytes] = [*self._first_words]
        for header in headers.items():
            words += header
        words += (b"body", body)
        try:
            try:
                await _ADD_ONCE.run(here.sender, keys, words)
            except Lost as lost:
                # Safe to send again: the mark was set in the same script as the entry.
                await repeat(lost, lambda: _ADD_ONCE.run(here.sender, keys, words))
        except (Lost, ResponseError) as error:
            raise server.failure(error, f"an event was not added to stream {stream!r}") from error
        if self._resources.durability.is_due:
            await self._resources.durability.ask(here.seed)


def _mark(stream: str, identity: str) -> str:
    """The key of an event's mark, in the slot of its stream."""
    # The script touches the stream and the mark, so a cluster must keep both in one slot: same hash tag.
    begin = stream.find("{")
    if begin >= 0 and stream.find("}", begin) > begin + 1:
        return f"{stream}:event:{identity}"
    if "}" in stream:
        raise ValueError(f"the name of a stream must not have a '}}' without a tag before it, got {stream!r}")
    return f"{{{stream}}}:event:{identity}"
