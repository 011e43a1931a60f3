"""One connection for an event loop, closed after any failure and opened again at the next use.

nats-py would reconnect by itself and then send what it has kept meanwhile. A step that its caller has been
told to be lost must not happen later, so nothing is kept here and a broken connection stays broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, MaxPayloadError

from sdpatterns.backends.nats.server import NatsServer
from sdpatterns.errors import BackendError, BackendUnavailable
from sdpatterns.ports.engine.batcher import TaskBatcher
from sdpatterns.ports.engine.failures import NotSent, ReplyLost
from sdpatterns.ports.engine.lines import behind
from sdpatterns.ports.engine.looped import away
from sdpatterns.ports.engine.reopened import Reopened
from sdpatterns.ports.pressure import Pressure

__all__ = ["EXPECTED", "Call", "NatsConnection", "NatsLink", "batch_of"]

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
"""The header with the sequence number that the last message of a subject must have."""

_ASKERS_MAX = 256
_CLOSE_S = 1.0


class Call(NamedTuple):
    """One message to send. `answers` is False for one that is not answered.

    Where `into` is given, several messages answer it: they come there, and the last one, which has a status, is
    the answer.
    """

    subject: str
    payload: bytes = b""
    headers: Mapping[str, str] | None = None
    answers: bool = True
    into: list[Msg] | None = None


def batch_of(calls: Sequence[Call]) -> Sequence[Call]:
    """The same messages as one: the last one commits all, or tells that one of them was refused."""
    if len(calls) == 1:
        return calls
    name, batch = secrets.token_hex(8), []
    for number, call in enumerate(calls, 1):
        of_batch = {**(call.headers or {}), "Nats-Batch-Id": name, "Nats-Batch-Sequence": str(number)}
        if number == len(calls):
            of_batch["Nats-Batch-Commit"] = "1"
        batch.append(Call(call.subject, call.payload, of_batch, answers=number == len(calls)))
    return batch


class NatsLink:
    """A connection, and the calls on it that wait for their answers; None comes where it breaks.

    `news` is set when it has ended. The listener uses it too.
    """

    def __init__(self) -> None:
        self.client = Client()
        self.waiting: dict[str, asyncio.Future[Msg | None]] = {}
        self.pages: dict[str, list[Msg]] = {}
        self.news = asyncio.Event()
        self.has_ended = False
        self._inbox = f"_INBOX.{secrets.token_hex(11)}"
        self._calls = 0
        self._noted: Exception | None = None

    @classmethod
    async def opened(cls, server: NatsServer) -> Self:
        """One to the first of the servers that lets us."""
        failure: Exception = OSError("no server")
        for url in server.urls:
            link = cls()
            try:
                await link._open(server, url)
            except (OSError, Error, TimeoutError) as error:
                failure = link._noted or error  # what nats-py raises says less
                await link.close()
            except BaseException:
                await link.close()
                raise
            else:
                return link
        raise failure

    async def _open(self, server: NatsServer, url: str) -> None:
        await self.client.connect(
            **{"ping_interval": server.timeout_s, **server.options},
            servers=[url],
            allow_reconnect=False,
            # Else it would try one server again and again, for as long as this takes.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            pending_size=0,
            connect_timeout=server.timeout_s / len(server.urls),  # type: ignore[arg-type] # nats-py says int
            error_cb=self._note,
            closed_cb=self._lose,
        )
        await self.client.subscribe(f"{self._inbox}.*", cb=self._heard)

    @property
    def is_open(self) -> bool:
        """Whether nothing has ended it yet."""
        return self.client.is_connected

    async def _note(self, error: Exception) -> None:
        self._noted = error

    async def _lose(self) -> None:
        self.has_ended = True
        self.news.set()
        for future in self.waiting.values():
            if not future.done():
                future.set_result(None)

    async def _heard(self, message: Msg) -> None:
        page = self.pages.get(message.subject)
        if page is not None and "Status" not in (message.headers or ()):
            page.append(message)
            return
        future = self.waiting.get(message.subject)
        if future is not None and not future.done():
            future.set_result(message)

    async def send(self, calls: Sequence[Call]) -> list[str]:
        """Send them in one go; where their answers will come. None of it waits."""
        replies = []
        for subject, payload, headers, answers, into in calls:
            reply = self._expect() if answers else ""
            if into is not None:
                into.clear()  # of an attempt before
                self.pages[reply] = into
            await self.client.publish(subject, payload, reply=reply, headers=dict(headers) if headers else None)
            replies += [reply] if answers else []
        return replies

    def _expect(self) -> str:
        self._calls += 1
        reply = f"{self._inbox}.{self._calls}"
        self.waiting[reply] = asyncio.get_running_loop().create_future()
        return reply

    def forget(self, reply: str) -> None:
        """What comes there is no longer wanted."""
        del self.waiting[reply]
        self.pages.pop(reply, None)

    async def prove(self, within_s: float) -> None:
        """A message to itself. The server takes all in order: with this one, it has taken what was sent before."""
        # nats-py's own PING would overtake what is still to be sent.
        mine = self._expect()
        await self.client.publish(mine)
        async with asyncio.timeout(within_s):
            if await self.waiting[mine] is None:
                raise ConnectionResetError("the connection broke")
        del self.waiting[mine]

    async def close(self) -> None:
        """Send what is left to be sent and close it, without waiting for a server that does not take it."""
        await self._lose()
        is_closed = False
        try:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_S if self.client.is_connected else 0):
                    await self.client.close()
                    is_closed = True
        finally:  # also where the caller is cancelled a second time, while it waits here
            if not is_closed:
                self._cut()

    def _cut(self) -> None:
        transport: Any = self.client._transport  # noqa: SLF001 - nats-py has no word for cutting a connection
        writer = getattr(transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()


class NatsConnection:
    """Calls the server. All calls of a turn of the loop share the connection, and mostly a packet."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server
        self._links = Reopened(lambda: NatsLink.opened(server))
        self._asks: TaskBatcher[Sequence[Call], list[Msg]] = TaskBatcher(
            self._ask_all, at_most=_ASKERS_MAX, behind=behind
        )

    async def ask(self, calls: Sequence[Call]) -> list[Msg]:
        """The answers to questions; those who ask while others wait for an answer share the next round."""
        return await self._asks.run(calls)

    async def _ask_all(self, wanted: Sequence[Sequence[Call]]) -> list[list[Msg]]:
        calls = list(dict.fromkeys([call for calls in wanted for call in calls]))
        answers = dict(zip(calls, await self.call_all(calls), strict=True))
        return [[answers[call] for call in calls] for calls in wanted]

    async def notify(self, topics: Sequence[str]) -> None:
        """Send the topics. The server does not answer, so that one which is lost is not noticed."""
        words = [(self._server.channel(topic), topic.encode("utf-8", "surrogatepass")) for topic in topics]
        await self.call_all([Call(*word, answers=False) for word in words])

    async def version(self) -> tuple[int, int]:
        """The server's release."""
        await self.call_all(())
        version = (await self._links.get()).client.connected_server_version
        return version.major, version.minor

    async def call_all(self, calls: Sequence[Call]) -> list[Msg]:
        """The answers to those that are answered, in order. Raises `NotSent` or `ReplyLost`."""
        sent: list[str] = []
        asked = [call for call in calls if call.answers]
        link: NatsLink | None = None
        try:
            async with asyncio.timeout(self._server.timeout_s):
                link = await self._links.get()
                sent = await link.send(calls)
                answers = [await link.waiting[reply] for reply in sent]
        except TimeoutError as late:
            self._links.give_up(link)
            cause = away(f"no answer within {self._server.timeout_s:g} s")
            raise (ReplyLost if sent else NotSent)(cause, late=True) from late
        except MaxPayloadError as error:
            raise NotSent(BackendError(f"{self._server.shown}: a state is over its max_payload"), apart=True) from error
        except (OSError, Error) as error:
            # A connection that had broken while it was idle; or there was none to be had, which is no accident.
            self._links.give_up(link)
            raise NotSent(away(error), again=link is not None) from error
        finally:
            for reply in sent:
                link.forget(reply)  # type: ignore[union-attr] # it has sent them
        if None in answers:
            self._links.give_up(link)
            raise ReplyLost(ConnectionResetError("the connection broke"))
        return [self._checked(call, answer) for call, answer in zip(asked, answers, strict=True) if answer is not None]

    def _checked(self, call: Call, answer: Msg) -> Msg:
        if not answer.data and (answer.headers or {}).get("Status") == "503":
            why = f"no stream takes {call.subject!r}: make it (await backend.create() makes ours), or start JetStream"
            raise NotSent(BackendUnavailable(f"{self._server.shown} refuses: {why}"))
        return answer

    def pressure(self) -> Pressure:
        """Whether it is at work, how many wait to ask, and how often it failed."""
        link = self._links.now
        used = link is not None and bool(link.waiting)
        return Pressure(int(used), 1, self._asks.waiting, self._links.errors)

    async def close(self) -> None:
        """Close it. The next call opens another one."""
        await self._links.close()
