"""The time limit on a call.

```
inherited  |-----------------------------------|
own        |---- timeout_s ----|                     the earlier one holds, here and further in
```
"""

from __future__ import annotations

import asyncio
import functools
from asyncio import _get_running_loop, current_task
from collections.abc import Sequence
from typing import Any, NamedTuple

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import Until, carried_deadline, deadline_at
from sdpatterns.core.guard import Guard
from sdpatterns.core.keys import KeyOf, check_name
from sdpatterns.core.outcome import Outcome
from sdpatterns.core.policy import AsyncCall, Policy
from sdpatterns.core.ranges import seconds
from sdpatterns.core.runtime import TimeLimit, current
from sdpatterns.core.runtime.expiry import AsyncioTimeLimit, Expiries
from sdpatterns.core.tracing import TRACERS, Span, in_span
from sdpatterns.errors import DeadlineExceeded

__all__ = ["Timeout"]


class TimePermit(NamedTuple):
    """One passage: what limits it, the time it had, and the deadline to put back afterwards."""

    bound: TimeLimit
    left_s: float
    before: float | None

    def __repr__(self) -> str:
        return f"<TimePermit: {self.left_s:g} s>"


def _more_s(carried: float, own_at: float) -> float:
    """What the work may still take when the carried deadline is reached: a deadline that ended binds no more."""
    return own_at - SYSTEM.monotonic() if isinstance(carried, Until) and carried.is_over else 0.0


class Timeout(Guard):
    """Ends a call that takes longer than `timeout_s`, or than the time that its caller has left.

    ```python
    import asyncio
    from sdpatterns import DeadlineExceeded, Timeout

    @Timeout(0.01).protect
    async def fetch_quote(symbol: str) -> float:
        await asyncio.sleep(60)
        return 1.0

    try:
        asyncio.run(fetch_quote("ACME"))
    except DeadlineExceeded as late:
        print(late)
    ```

    **Keeps**: the work is cancelled, and has ended, when `DeadlineExceeded` is raised. A cancellation
    from elsewhere is passed on as it is, even in the same moment. Work that swallows its
    cancellation and returns is late, not lost: its result, or its own exception, is the caller's.
    Inside, `deadline_left_s()` gives the seconds left; a nested `Timeout` can only shorten it.

    A thread is work that cannot be cancelled: around `asyncio.to_thread` the caller gets `DeadlineExceeded` in
    time, and the thread goes on until its function returns, also while the next attempt runs. Under trio, and
    with `anyio.to_thread.run_sync`, the limit waits for the thread unless you ask to abandon it
    (`abandon_on_cancel=True`), so nothing runs unseen. Give the function itself a time limit, such as a
    client's `timeout=deadline_left_s()`.

    **May fail** with `DeadlineExceeded`: after the time, or at once, with the work not begun, when
    the caller has nothing left. A thread cannot be interrupted, so a program without an event loop
    gets TypeError; there, set the client's own timeout and carry the bound by `with_deadline`.

    **Costs** about 1.1 µs on asyncio: the calls of one `Timeout` share one timer, for equal times run
    out in the order in which they began.
    """

    traits = frozenset({"limits_time"})

    def __init__(self, timeout_s: float, *, name: str | None = None) -> None:
        self.timeout_s = seconds("timeout_s", timeout_s)
        self.name = "timeout" if name is None else check_name("Timeout", name)
        self._is_named = name is not None
        self._expiries = Expiries(None)
        self._by_loop: dict[asyncio.AbstractEventLoop, Expiries] = {}

    def named(self, name: str, /) -> Timeout:
        return self if self._is_named else Timeout(self.timeout_s, name=name)

    def needs_loop(self) -> str | None:
        """A thread cannot be stopped by another."""
        return "a thread cannot be interrupted; give the client a timeout and use with_deadline"

    def describe(self) -> str:
        return f"Timeout: {self.timeout_s:g} s"

    async def enter(self, key: str, /) -> TimePermit:
        """Start the clock. Raises `DeadlineExceeded` when the caller has no time left."""
        now = SYSTEM.monotonic()
        before = deadline_at.get()
        carried = carried_deadline()
        at = own_at = now + self.timeout_s
        more_s = None
        if carried is not None and carried < at:
            at = carried
            more_s = functools.partial(_more_s, carried, own_at)
        left_s = at - now
        if left_s <= 0:
            raise DeadlineExceeded(self.name, 0.0)
        bound = current().bound(left_s, more_s)
        deadline_at.set(at)
        return TimePermit(bound, left_s, before)

    def leave(self, permit: TimePermit, outcome: Outcome, error: BaseException | None, /) -> None:
        """Stop the clock. Raises `DeadlineExceeded` when it was the clock that ended the work."""
        deadline_at.set(permit.before)
        if permit.bound.end(error):
            raise DeadlineExceeded(self.name, permit.left_s) from error

    def wrap(self, call: AsyncCall, key: KeyOf | None = None, /) -> AsyncCall:
        """The call inside the limit; on asyncio by the shared timer."""
        general = super().wrap(call)
        timeout_s, clock = self.timeout_s, SYSTEM
        carried, carry = deadline_at.get, deadline_at.set

        async def timed(*args: Any, _span: Span | None = None, **kwargs: Any) -> Any:
            """One call within its time, without an object where nothing strikes."""
            if TRACERS and _span is None:
                return await in_span(self, timed, args, kwargs)
            loop = _get_running_loop()
            at = clock.monotonic() + timeout_s
            before = carried()
            task = None if loop is None else current_task(loop)
            if task is None or (before is not None and before < at):
                return await general(*args, _span=_span, **kwargs)
            expiries = self._expiries
            if expiries.loop is not loop:
                expiries = self._expiries_of(loop)
            bound = AsyncioTimeLimit(task, at)
            expiries.pending[bound] = None
            if expiries.timer is None:
                expiries.arm(timeout_s)
            carry(at)
            try:
                result = await call(*args, **kwargs)
            except BaseException as error:
                carry(before)
                expiries.pending.pop(bound, None)
                if bound.end(error):
                    raise DeadlineExceeded(self.name, timeout_s) from error
                raise
            carry(before)
            if bound.struck:
                bound.end(None)
            else:
                del expiries.pending[bound]
            return result

        return timed

    def _expiries_of(self, loop: Any) -> Expiries:
        """The queue of a loop. Only loops that still live are remembered."""
        found = self._by_loop.get(loop)
        if found is None:
            found = Expiries(loop)
            others = {known: queue for known, queue in self._by_loop.copy().items() if not known.is_closed()}
            self._by_loop = {**others, loop: found}
        self._expiries = found
        return found

    def doubts(self, outside: Sequence[Policy], inside: Sequence[Policy], /) -> Sequence[str]:
        """A limit that never strikes, and one that a single attempt may use up."""
        found = [
            f"Timeout of {other.timeout_s:g} s inside one of {self.timeout_s:g} s never strikes"
            for other in inside
            if isinstance(other, Timeout) and other.timeout_s >= self.timeout_s
        ]
        places = [place for place, part in enumerate(inside) if "repeats" in part.traits]
        if places and not any("limits_time" in part.traits for part in inside[places[-1] :]):
            found.append(
                "Timeout stands outside a part that repeats, with none inside: one attempt that"
                " hangs uses up the time of all"
            )
        return found
