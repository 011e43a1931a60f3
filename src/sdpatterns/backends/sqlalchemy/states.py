"""Cells in a table."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from sdpatterns.backends.sqlalchemy.calls import Call, Place
from sdpatterns.backends.sqlalchemy.folds import Fold
from sdpatterns.core.codec import Codec
from sdpatterns.core.keys import check_key
from sdpatterns.core.runtime import Runtime, current
from sdpatterns.core.step import GONE, UNCHANGED, ManyStep, ManyTransition, Repeats, Step, Transition
from sdpatterns.core.tracing import TRACERS, Value, stepped_in_span
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.states import KEYS_MAX, Overflow

__all__ = ["SQLCells", "SQLStates", "stored_text"]

S = TypeVar("S")
A = TypeVar("A")

_LOSSES_MAX = 3
_APART_MAX = 8


def stored_text(text: str) -> str:
    r"""A space or a key as it stands in the table. Raises ValueError for one that cannot.

    Postgres has no NUL in its texts, so that it is written as `\0` (and a backslash as two).
    """
    check_key(text)
    if "\\" in text or "\x00" in text:
        return text.replace("\\", "\\\\").replace("\x00", "\\0")
    return text


class Look:
    """The states, as they are."""

    repeats: ClassVar[Repeats] = "harmless"
    twin = None

    def __call__(self, states: Sequence[Any], now_us: int, /) -> ManyStep[Any, list[Any]]:
        return [UNCHANGED] * len(states), list(states), [0.0] * len(states), ()


class Drop:
    """No state any more."""

    repeats: ClassVar[Repeats] = "harmless"
    twin = None

    def __call__(self, state: Any, now_us: int, /) -> Step[Any, None]:
        return GONE, None, 0.0, ()


_VERBS: dict[type, str] = {Look: "read", Drop: "delete"}


class SQLCells(Generic[S]):
    """See `Cells`.

    Costs: on SQLite one hop to the writer's thread and one transaction for all steps of a loop turn;
    on Postgres two statements for all of them, four where a step has several cells.
    """

    def __init__(self, space: str, codec: Codec[S], run: Callable[[Call], Any]) -> None:
        self.space = space
        self._space = stored_text(space)
        self._codec = codec
        self._run = run

    def _place(self, key: str) -> Place:
        return self._space, stored_text(key)

    async def transact(self, key: str, transition: Transition[S, A], /) -> A:
        """Run the transition on the cell `key` and return its answer."""
        answer: A = await self._run(Call((self._place(key),), self._codec, transition))
        return answer

    async def transact_many(self, keys: Sequence[str], transition: ManyTransition[S, A], /) -> A:
        """Run one transition on several different cells: all of it or nothing."""
        places = tuple(map(self._place, keys))
        if len(set(places)) != len(places):
            raise ValueError("one step needs different keys")
        answer: A = await self._run(Call(places, self._codec, transition, many=True))
        return answer

    async def read(self, key: str, /) -> S | None:
        """The state of a cell; it may be past an instant inside it that only a step would judge."""
        return (await self.read_many((key,)))[0]

    async def read_many(self, keys: Sequence[str], /) -> list[S | None]:
        """The states of several cells, in order."""
        if not keys:
            return []
        places = tuple(map(self._place, keys))
        states: list[S | None] = await self._run(Call(places, self._codec, Look(), many=True, reads=True))
        return states

    async def delete(self, key: str, /) -> None:
        """Forget a cell."""
        await self._run(Call((self._place(key),), self._codec, Drop()))


class SQLStates:
    """Keeps state in a SQL database: see `StateStore`. `keys_max` does not apply: the disk is the limit."""

    def __init__(
        self, runtime: Runtime, fold: Callable[[], Fold], random: Callable[[], float], facts: Mapping[str, Value]
    ) -> None:
        self.runtime: Runtime | None = runtime
        self._fold = fold
        self._random = random
        self._facts = facts

    def cells(
        self,
        space: str,
        codec: Codec[S],
        /,
        *,
        group: str | None = None,
        keys_max: int = KEYS_MAX,
        overflow: Overflow = "share",
    ) -> SQLCells[S]:
        """The cells named `space`. The rows are bounded by `sweep`, not by a number."""
        return SQLCells(space, codec, self.run)

    def run(self, call: Call) -> Coroutine[Any, Any, Any]:
        """Carry the call to its end and give its answer."""
        if not TRACERS or not call.places:  # what touches no cell is an announcement, not a step
            return self._run(call)
        # A statement carries the steps of many callers, so that no span of one of them could hold its own.
        verb = _VERBS.get(type(call.transition), "transact_many" if call.many else "transact")
        return stepped_in_span(verb, call.places[0][0], self._facts, self._run(call))

    async def _run(self, call: Call) -> Any:
        fold = self._fold()
        for losses in range(_LOSSES_MAX):
            await fold.run(call)
            if not call.lost:
                return call.result()
            call.renew()
            await self._pause(losses)
        return await self._run_apart(fold, call)

    async def _run_apart(self, fold: Fold, call: Call) -> Any:
        for losses in range(_APART_MAX):
            await fold.run_apart(call)
            if not call.lost:
                return call.result()
            call.renew()
            await self._pause(losses)
        raise BackendUnavailable(f"{call.places} is held or rewritten by others all the time: the step did not happen")

    async def _pause(self, losses: int) -> None:
        await current().sleep(self._random() * 0.001 * (2**losses))
