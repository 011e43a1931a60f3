"""Push: a queue that hands a message to a worker in the notification itself, so that the worker need not claim it.

```
worker                            queue
claim ------------------------->  nothing is due: the credit stays there
                    publish --->  a credit is there: the message is leased to its worker
handled  <----------------------  pushed, and the credit is used
claim ------------------------->  ...
```

A worker without work leaves credit for one message, the link credit of AMQP 1.0. It is optional: a queue that cannot
push notifies its topic, and the worker claims. Nothing but the time until a message is worked on depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from sdpatterns.ports.queue import Claimed, Claims

__all__ = ["Credit", "PushQueue", "Pushed"]


class Pushed(NamedTuple):
    """A message that was pushed, and the monotonic second of this machine until which its lease surely lasts."""

    claimed: Claimed
    until_s: float


class Credit(Protocol):
    """The claims of one worker, one after another.

    **Keeps**: a message is pushed only where the last claim gave nothing, and one at most, so that a worker gets no
    more than it has places for. One that is lost on its way is due again when its lease ends, as after a claim whose
    reply was lost; so is one that comes after `close`.
    """

    async def claim(self, n: int, lease_s: float, /) -> Claims:
        """See `MessageQueue.claim`. Where it gives nothing, it leaves the credit."""
        ...

    def pushed(self) -> Sequence[Pushed]:
        """What was pushed since the last call and is still leased."""
        ...

    async def close(self) -> None:
        """Take the credit back; the next claim leaves it again. Never raises because of the store."""
        ...


@runtime_checkable
class PushQueue(Protocol):
    """A queue that can push."""

    def credit(self, wake: Callable[[], None], /) -> Credit | None:
        """A credit for one worker, who is woken when a message comes. None where this server or runtime cannot push."""
        ...
