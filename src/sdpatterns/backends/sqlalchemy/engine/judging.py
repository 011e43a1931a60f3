"""Whether a failed unit lost its reply, was not sent, or lost a race: one judgement for all ports."""

from __future__ import annotations

from sdpatterns.backends.sqlalchemy.engine.connections import Connections
from sdpatterns.backends.sqlalchemy.engine.dialect import Unit
from sdpatterns.backends.sqlalchemy.engine.failures import holder_of, is_bad_value, is_conflict, is_server_error
from sdpatterns.core import clock
from sdpatterns.ports.engine.failures import NotSent, ReplyLost

__all__ = ["judge_failure"]


def judge_failure(error: Exception, unit: Unit, connections: Connections, began: float) -> str:
    """Raise `ReplyLost` or `NotSent`; of a lost race return who holds what the unit needs, empty where two clients met.

    `began` is the monotonic second at which the unit did.
    """
    if not is_server_error(error):
        connections.usage.fail()
    late = isinstance(error, TimeoutError) or clock.SYSTEM.monotonic() - began >= connections.timeout_s
    # A write was on its way, and no answer says that it failed: it may be done.
    if unit.doubt and not is_server_error(error):
        raise ReplyLost(error, late=late) from error
    # Who meets others tries again; but not behind one that holds on for as long as one may wait.
    if is_conflict(error) and not (late and not connections.is_moving()):
        return holder_of(error)
    # A connection that stood idle may have broken long ago: another one is worth an attempt.
    raise NotSent(error, late=late, again=not unit.fresh, apart=is_bad_value(error)) from error
