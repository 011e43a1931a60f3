"""Carry calls to their end: over a stale connection, a lost reply, a database that is away."""

from __future__ import annotations

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

__all__ = ["carry"]


async def carry(link: Link, calls: Sequence[Call], *, apart: bool = False) -> None:
    """Run the calls; when this returns each has an answer, an error, or is lost.

    A connection that was kept may have died since: what surely did not happen is run once more on a
    new one. So is what may have happened and is harmless to repeat; the rest of it is
    `OutcomeUnknown`.
    """
    todo = calls
    try:
        for last in (False, True):
            batch = Batch(todo, hold=apart)
            try:
                with link.usage:
                    await (link.run_apart(batch) if apart else link.run(batch))
            except Exception as error:  # noqa: BLE001 - sorted by what it leaves behind
                if not answered(error):
                    link.usage.fail()
                todo = _after(link.shown, batch, error, last=last)
            else:
                return
            if not todo:
                return
    finally:
        # Cancelled or interrupted in the middle: nobody may wait for ever.
        for call in calls:
            if not call.done:
                call.fail(lost_reply(link.shown, ConnectionAbortedError("the client was stopped")))


def _after(shown: str, batch: Batch, error: Exception, *, last: bool) -> list[Call]:
    """End the calls of a failed batch, or give back those that shall run again."""
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
