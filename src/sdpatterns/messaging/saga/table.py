"""A saga as a table of steps: data in place of a function, on the same run."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar, cast

from sdpatterns.core.judging import callable_of, is_async, title_of
from sdpatterns.core.keys import check_name
from sdpatterns.errors import CodecError
from sdpatterns.messaging.consumer import awaited
from sdpatterns.messaging.saga.journal import RunBroken
from sdpatterns.messaging.saga.run import SagaRun
from sdpatterns.messaging.schema.forms import form_of

__all__ = ["SagaTable", "TableStep"]

S = TypeVar("S")


@dataclasses.dataclass(frozen=True)
class TableStep(Generic[S]):
    """A row: `function` gets the state and returns the next one; `undo` gets the state that `function` returned.

    With `is_pivot` it is the step from which on nothing is undone: see `SagaRun.pivot`.
    """

    name: str
    function: Callable[[S], Awaitable[S]]
    _: dataclasses.KW_ONLY
    undo: Callable[[S], Any] | None = None
    is_pivot: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_name("TableStep", self.name)
        if not is_async(self.function):
            raise TypeError(f"step {self.name!r} needs an async function of the state, got {title_of(self.function)}")
        if self.undo is not None:
            callable_of("undo", self.undo)
        if self.is_pivot and self.undo is not None:
            raise ValueError(f"step {self.name!r} is the pivot, which is never undone: leave out undo")


class SagaTable(Generic[S]):
    """Steps that run one after another, each on the state that the one before it returned; undone backwards.

    The state is a dataclass, a `msgspec.Struct` or a model of pydantic: what the run is started with, and what its
    steps found out. A table is a saga's function, so declare it as one:

    ```python
    @dataclass(frozen=True)
    class Order:
        article: str
        cents: int
        reservation: str = ""

    place_order = sagas.saga(give_up_on=(Declined,))(
        SagaTable("place_order", Order, [
            TableStep("reserve", reserve, undo=release),
            TableStep("charge", charge, is_pivot=True),
        ])
    )
    handle = await place_order.start(Order("lamp", 900))
    ```

    **Keeps** what a saga does; see `Sagas`. A result is the state that the last step returned.
    **May fail** with ValueError or TypeError when it is built.
    **Costs** what the same steps cost in a function; each of them stores the whole state.
    """

    def __init__(self, name: str, kind: type[S], steps: Sequence[TableStep[S]]) -> None:
        self.name = self.__name__ = check_name("SagaTable", name)
        self.kind = kind
        self.steps = tuple(steps)
        self._form = form_of(kind)
        if not self.steps:
            raise ValueError(f"SagaTable {name!r} has no steps")
        self._check()

    def _check(self) -> None:
        seen: set[str] = set()
        pivot: str | None = None
        for step in self.steps:
            if step.name in seen:
                raise ValueError(f"two steps of SagaTable {self.name!r} are called {step.name!r}")
            seen.add(step.name)
            if pivot is not None and (step.undo is not None or step.is_pivot):
                raise ValueError(f"step {step.name!r} is behind the pivot {pivot!r}, where nothing is undone")
            pivot = step.name if step.is_pivot else pivot

    async def __call__(self, run: SagaRun, state: S) -> S:
        """Run the steps. A worker does this."""
        for step in self.steps:
            state = self._state_of(step, await self._taken(run, step, state))
        return state

    async def _taken(self, run: SagaRun, step: TableStep[S], state: S) -> dict[str, Any]:
        act = partial(self._act, step, state)
        if step.is_pivot:
            return await run.pivot(step.name, act)
        undo = None if step.undo is None else partial(self._undone, step, step.undo)
        return await run.step(step.name, act, undo=undo)

    async def _act(self, step: TableStep[S], state: S) -> dict[str, Any]:
        found = await step.function(state)
        if not isinstance(found, self.kind):
            got = type(found).__qualname__
            raise RunBroken(f"step {step.name!r} is done, and returned {got} in place of {self.kind.__qualname__}")
        return self.dump(found)

    async def _undone(self, step: TableStep[S], undo: Callable[[S], Any], stored: dict[str, Any]) -> None:
        await awaited(undo(self._state_of(step, stored)))

    def _state_of(self, step: TableStep[S], stored: dict[str, Any]) -> S:
        try:
            return self.load(stored)
        except CodecError as error:
            raise RunBroken(f"the state behind step {step.name!r}: {error}") from error

    def dump(self, state: S) -> dict[str, Any]:
        """The state as it is stored. Raises TypeError for one of another class."""
        if not isinstance(state, self.kind):
            raise TypeError(f"{self.name!r} works on {self.kind.__qualname__}, got {type(state).__qualname__}")
        return self._form.dump(state)

    def load(self, stored: Any) -> S:
        """The state that was stored. Raises `CodecError` where it does not fit the class any more."""
        try:
            return cast("S", self._form.load(stored))
        except Exception as cause:
            raise CodecError(f"the stored state does not fit {self.kind.__qualname__}: {cause}") from cause

    def diagram(self) -> list[str]:
        """The lines of a Mermaid flowchart of the steps, with what undoes them."""
        return ["flowchart LR", f'  start(["{self.name}"])', *self._arrows()]

    def _arrows(self) -> Iterator[str]:
        before = "start"
        for number, step in enumerate(self.steps):
            left, right = ("[[", "]]") if step.is_pivot else ("[", "]")
            yield f'  s{number}{left}"{step.name}"{right}'
            yield f"  {before} --> s{number}"
            if step.undo is not None:
                yield f'  s{number} -. undo .-> u{number}["{getattr(step.undo, "__name__", "undo")}"]'
            before = f"s{number}"
        yield '  end1(["completed"])'
        yield f"  {before} --> end1"

    def __repr__(self) -> str:
        return f"<SagaTable {self.name!r}: {', '.join(step.name for step in self.steps)}>"
