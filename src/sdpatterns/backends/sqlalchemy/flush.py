"""Carry calls to their end: over a stale connection, a lost reply, a database that is away."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from sdpatterns.backends.sqlalchemy.calls import Call
from sdpatterns.backends.sqlalchemy.failures import (
    answered,
    is_nobodys_fault,
    lost_reply,
    only_this_batch,
    unavailable,
    waited_in_vain,
)
from sdpatterns.backends.sqlalchemy.links import Link
from sdpatterns.backends.sqlalchemy.work import Batch
from sdpatterns.core.clock import SYSTEM

__all__ = ["carry", "send_away"]


async def carry(link: Link, calls: Sequence[Call], *, apart: bool = False) -> Exception | None:
    """Run the calls; when this returns each has an answer, an error, or is lost.

    Returns the error where the database did not answer in time, because those who wait behind these
    calls have then waited for as long as one may: see `send_away`.

    A connection that was kept may have died since: what surely did not happen is run once more on a
    new one. So is what may have happened and is harmless to repeat; the rest of it is
    `OutcomeUnknown`.
    """
    todo, began = calls, SYSTEM.monotonic()
    try:
        for last in (False, True):
            batch = Batch(todo, hold=apart)
            try:
                with link.usage:
                    await (link.run_apart(batch) if apart else link.run(batch))
            except Exception as error:  # noqa: BLE001 - sorted by what it leaves behind
                if not answered(error):
                    link.usage.fail()
                is_late = isinstance(error, TimeoutError) or SYSTEM.monotonic() - began >= link.timeout_s
                todo = _after(link.shown, batch, error, last=last or is_late)
                if is_late:
                    return error
            else:
                return None
            if not todo:
                return None
        return None
    finally:
        # Cancelled or interrupted in the middle: no caller may wait without end.
        for call in calls:
            if not call.done:
                call.fail(lost_reply(link.shown, ConnectionAbortedError("the client was stopped")))


def send_away(shown: str, pending: deque[Call], error: Exception) -> list[Call]:
    """Fail the calls that wait behind those to which nothing answered in time; these, for whom nothing was sent.

    Else each batch of a server that is frozen would wait for as long again. What only reads stays where
    it is another writer that took too long.
    """
    gone: list[Call] = []
    for _ in range(len(pending)):
        call = pending.popleft()
        if call.reads and not isinstance(error, TimeoutError):
            pending.append(call)
        else:
            call.fail(unavailable(shown, error))
            gone.append(call)
    return gone


def _after(shown: str, batch: Batch, error: Exception, *, last: bool) -> list[Call]:
    """End the calls of a failed batch, or return those that must run again."""
    waiting = [call for call in batch.calls if not call.done]
    batch.doubt = batch.doubt and not answered(error)
    if not batch.doubt and _is_lost(batch, error):
        for call in waiting:
            call.lose()
        return []
    last = last or waited_in_vain(error)
    again: list[Call] = []
    for call in waiting:
        call.doubt = call.doubt or batch.doubt
        if _may_run_again(call, batch, last=last):
            again.append(call)
        else:
            call.fail((lost_reply if call.doubt else unavailable)(shown, error))
    return again


def _is_lost(batch: Batch, error: Exception) -> bool:
    if batch.hold and waited_in_vain(error):
        return False
    # Where one of many is at fault and takes the others along, each runs alone.
    return is_nobodys_fault(error) or (len(batch.calls) > 1 and only_this_batch(error))


def _may_run_again(call: Call, batch: Batch, *, last: bool) -> bool:
    if last:
        return False
    if call.doubt:
        return bool(call.transition.repeats == "harmless")
    return not batch.fresh
