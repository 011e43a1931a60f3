"""The one shape of a decision about stored state.

```
transition([state or None, ...], now_us)  ->  ([state | UNCHANGED | GONE, ...], answer, [keep_s, ...], wake)
```

A step has one cell or several, and always gets and gives sequences, one element for each cell. A
`Transition` is a value: it holds its request, reads no clock, draws no random number and does no
I/O, because a store may run it again after a conflict, fold it with others into one write, or run
its Lua script on the server instead. A `Step` is a plain tuple because one is made per decision
(a named tuple costs 180 ns, a plain one 30).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, ClassVar, Final, Literal, Protocol, TypeAlias, TypeVar

__all__ = [
    "GONE",
    "UNCHANGED",
    "Repeats",
    "Script",
    "Step",
    "Transition",
    "unchanged",
]


class _Mark(Enum):
    UNCHANGED = "unchanged"
    GONE = "gone"


UNCHANGED: Final = _Mark.UNCHANGED
"""Nothing is written; the answer alone is wanted."""
GONE: Final = _Mark.GONE
"""The cell is dropped: its state would equal a fresh one."""

S = TypeVar("S")
A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)

Next: TypeAlias = S | Literal[_Mark.UNCHANGED, _Mark.GONE]
Step: TypeAlias = tuple[Sequence[S | Literal[_Mark.UNCHANGED, _Mark.GONE]], A, Sequence[float], Sequence[str]]
Repeats: TypeAlias = Literal["harmless", "unsafe"]


class Script(Protocol[A_co]):
    """The same transition for a server that runs Lua, named with a version such as `gcra/1`.

    `source` is a Lua chunk that returns `function(states, now, args)`, which in turn returns the
    new states (`false` unchanged, `true` gone), the answer (an array of strings), the milliseconds
    to keep each, and the topics to wake. Whole numbers cross as decimal text.
    """

    @property
    def name(self) -> str:
        """What it is called, with its version."""
        ...

    @property
    def source(self) -> str:
        """The chunk."""
        ...

    def args(self) -> Sequence[str | bytes]:
        """The request, as the chunk's `args`."""
        ...

    def answer(self, reply: Sequence[bytes]) -> A_co:
        """The Python answer that the chunk's reply stands for."""
        ...


class Transition(Protocol[S, A_co]):
    """One atomic step on one cell or several: all of it is written or nothing.

    `repeats` says what a second run of the same step would do, so that a store knows whether it may
    send the step again after its reply was lost: `"harmless"` (or carried by a request id kept in
    the cell), or `"unsafe"`, in which case the caller gets `OutcomeUnknown`.
    """

    repeats: ClassVar[Repeats]

    @property
    def script(self) -> Script[A_co] | None:
        """The same step for a server, or None."""
        ...

    def __call__(self, states: Sequence[S | None], now_us: int, /) -> Step[S, A_co]:
        """Decide on the cells, in the order of their keys. A state is None for a cell that does not exist."""
        ...


def unchanged(answer: A, cells: int = 1) -> Step[Any, A]:
    """A step that writes nothing to its cells."""
    return (UNCHANGED,) * cells, answer, (0.0,) * cells, ()
