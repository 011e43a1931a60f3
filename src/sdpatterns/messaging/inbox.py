"""A message that comes twice has its effect once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.keys import check_name, join_key
from sdpatterns.core.ranges import number
from sdpatterns.core.step import Repeats, Step, unchanged
from sdpatterns.ports.backend import HasStates
from sdpatterns.ports.states import Space

__all__ = ["Inbox"]


class Inbox:
    """Says whether a message is new, in the transaction in which its effect is written.

    ```
    async with session.begin():
        if await inbox.is_new(event.id, within=backend.within(session)):
            ...                                        the effect, in the same session
    ```

    **Keeps**: of all transactions that ask for one id, exactly one that commits gets True, for `keep_s`. One that
    rolls back leaves the message new. Two at the same time: the second waits for the first.
    **May fail** with what the session raises.
    **Costs** one row for each message, for `keep_s`, and a lock on it until the transaction ends.

    Source: Hohpe and Woolf, "Idempotent Receiver" (2003).
    """

    def __init__(self, name: str, *, keep_s: float = 7 * 86_400.0) -> None:
        self.name = check_name("Inbox", name)
        self.keep_s = number("keep_s", keep_s, 1.0, 10 * 366 * 86_400.0)
        self._space: Space[tuple[int, ...]] = Space(join_key("inbox", name), IntegersCodec())

    async def is_new(self, message_id: str, *, within: HasStates) -> bool:
        """Whether this transaction is the first for `message_id`; it is taken as done when it commits."""
        return await within.states.cells(self._space).transact(message_id, _Take(self.keep_s))

    def __repr__(self) -> str:
        return f"<Inbox {self.name!r}: keeps ids for {self.keep_s:g} s>"


class _Take:
    """Take the id, unless it is taken. The time that it is kept is judged by the instant in the state."""

    __slots__ = ("_keep_s",)
    repeats: ClassVar[Repeats] = "unsafe"
    script = None

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s

    def __call__(self, states: Sequence[tuple[int, ...] | None], now_us: int, /) -> Step[tuple[int, ...], bool]:
        [state] = states
        if state is not None and now_us < state[0]:
            return unchanged(answer=False)
        return ((now_us + round(self._keep_s * 1_000_000),),), True, (self._keep_s,), ()
