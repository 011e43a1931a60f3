"""The one connection of an event loop that listens, for all ears of the loop.

```
 ear --count--> channels --SUBSCRIBE--> server --message--> bells of the ears
```
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

from redis.exceptions import RedisError

from sdpatterns.backends.redis.failures import Lost, NotSent, is_refusal
from sdpatterns.backends.redis.link import abort, drop, opened
from sdpatterns.backends.redis.protocol import pack
from sdpatterns.backends.redis.target import Target
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.fanout import LocalSignals

__all__ = ["Listener"]

QUIET_S = 15.0
_PAUSE_MAX_S = 2.0


class Listener:
    """Subscribes to all that this loop listens to, and connects again when it was cut off.

    Keeps: once `add` has returned, a later announcement rings; when announcements may have been
    missed, every bell rings. A quiet connection is asked for a sign of life, and replaced without.
    """

    def __init__(self, target: Target, loop: asyncio.AbstractEventLoop) -> None:
        self.ears = LocalSignals()
        self._target = target
        self._loop = loop
        self._wanted: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._connection: Any = None
        self._task: asyncio.Task[None] | None = None
        self._was_away = False

    async def add(self, topics: Iterable[str]) -> None:
        """Listen to these topics too; returns when the server does."""
        topics = tuple(dict.fromkeys(topics))
        new = [topic for topic in topics if not self._wanted[topic]]
        self._wanted.update(topics)
        sure: list[tuple[str, asyncio.Future[None]]] = []
        try:
            sure += [(topic, self._confirmation(topic)) for topic in topics if topic in new or topic in self._waiting]
            if self._task is None or self._task.done():
                self._task = self._loop.create_task(self._run())
            elif self._connection is not None:
                await self._subscribe(new)
            # Not `wait_for`: on Python 3.11 it swallows a cancellation that comes with the confirmation.
            async with asyncio.timeout(self._target.timeout_s):
                for _, future in sure:
                    await future
        except TimeoutError:
            self._forget(sure)
            await self.drop(topics)
            raise BackendUnavailable(self._target.away("it does not confirm a subscription")) from None
        except BaseException:
            self._forget(sure)
            await self.drop(topics)
            raise

    async def drop(self, topics: Iterable[str]) -> None:
        """Listen no longer, where nobody else does."""
        topics = tuple(dict.fromkeys(topics))
        self._wanted.subtract(topics)
        idle = [topic for topic in topics if self._wanted[topic] <= 0]
        for topic in idle:
            del self._wanted[topic]
        if idle and self._connection is not None:
            await self._say("UNSUBSCRIBE", idle)

    def _confirmation(self, topic: str) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.setdefault(topic, []).append(future)
        return future

    def _forget(self, given_up: Iterable[tuple[str, asyncio.Future[None]]]) -> None:
        """Keep nothing of one who was cancelled: a server that confirms late, or never, would pile them up."""
        for topic, future in given_up:
            waiting = self._waiting.get(topic)
            if waiting is not None and future in waiting:
                waiting.remove(future)
                if not waiting:
                    del self._waiting[topic]

    async def _subscribe(self, topics: Iterable[str]) -> None:
        topics = tuple(topics)
        self._asked.update(topics)
        if topics:
            await self._say("SUBSCRIBE", topics)

    async def _say(self, verb: str, topics: Iterable[str]) -> None:
        connection = self._connection
        channels = [self._target.channel + topic for topic in topics]
        try:
            await connection.send_packed_command(pack(verb, *channels), check_health=False)
        except (RedisError, OSError):
            # The task that reads will see the same, and begin again with all that is wanted.
            abort(connection)

    async def _run(self) -> None:
        pause_s = 0.01
        while self._wanted:
            try:
                self._connection = await opened(self._target, None)
                pause_s = 0.01
                await self._listen(self._connection)
            except (Lost, RedisError, OSError) as cause:
                self._give_up(cause)
            finally:
                connection, self._connection = self._connection, None
                if connection is not None:
                    await drop(connection)
            self._was_away = True
            await asyncio.sleep(pause_s * (0.5 + self._target.random()))
            pause_s = min(_PAUSE_MAX_S, pause_s * 2)

    def _give_up(self, cause: Exception) -> None:
        # Those who were promised nothing yet hear it at once; the others wait on.
        if not isinstance(cause, NotSent) and not is_refusal(cause):
            return
        waiting, self._waiting = self._waiting, {}
        for future in [future for futures in waiting.values() for future in futures]:
            if not future.done():
                future.set_exception(BackendUnavailable(self._target.away(cause)))

    async def _listen(self, connection: Any) -> None:
        self._asked.clear()
        await self._subscribe(tuple(self._wanted))
        asked_for_life = False
        while self._wanted:
            patience_s = self._target.timeout_s if asked_for_life else QUIET_S
            said = await connection.read_response(timeout=patience_s, disconnect_on_error=False)
            if said is not None:
                asked_for_life = False
                self._hear(said)
            elif asked_for_life:
                return
            else:
                asked_for_life = True
                await connection.send_packed_command(pack("PING"), check_health=False)

    def _hear(self, said: Any) -> None:
        kind, channel = said[0], said[1]
        topic = channel.decode()[len(self._target.channel) :]
        if kind == b"message":
            self.ears.ring((topic,))
        elif kind == b"subscribe":
            self._asked[topic] -= 1
            if self._asked[topic] <= 0:
                del self._asked[topic]
                self._confirm(topic)

    def _confirm(self, topic: str) -> None:
        for future in self._waiting.pop(topic, ()):
            if not future.done():
                future.set_result(None)
        if self._was_away and not self._asked:
            self._was_away = False
            self.ears.ring_all()

    async def close(self) -> None:
        """Stop to listen."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})
