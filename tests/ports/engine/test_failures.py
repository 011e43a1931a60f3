"""What is sent again after a failure: one rule for the steps, scripts, reads and signals of all stores."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from sdpatterns.core.runtime import finish
from sdpatterns.ports.engine.failures import Lost, NotSent, ReplyLost, may_repeat, repeat

LATE = TimeoutError("no reply within 5 s")


def test_what_is_sent_again_is_what_the_table_says() -> None:
    table = [
        (ReplyLost("cut"), {"harmless": True}, True),
        (ReplyLost("cut"), {"harmless": False}, False),
        (ReplyLost(LATE), {"harmless": True}, False),
        (ReplyLost("cut", late=True), {"harmless": True}, False),
        (NotSent("refused"), {"harmless": True}, False),
        (NotSent("was idle", again=True), {"harmless": False}, True),
        (NotSent(LATE, again=True), {"harmless": True}, False),
        (NotSent("was idle", again=True), {"harmless": False, "in_doubt": True}, False),
        (NotSent("refused"), {"harmless": True, "in_doubt": True}, True),
    ]
    assert [may_repeat(lost, **how) for lost, how, _ in table] == [again for _, _, again in table]


def fails_with(error: Exception) -> Callable[[], Awaitable[int]]:
    async def request() -> int:
        raise error

    return request


async def answered() -> int:
    return 7


def test_a_request_that_is_harmless_is_answered_the_second_time() -> None:
    assert finish(repeat(ReplyLost("cut"), answered)) == 7
    assert finish(repeat(NotSent("was idle", again=True), answered, harmless=False)) == 7


def test_once_a_reply_was_lost_each_failure_of_the_second_attempt_leaves_doubt() -> None:
    for second in (ReplyLost("cut again"), NotSent("refused"), KeyError("an error reply")):
        with pytest.raises(ReplyLost) as told:
            finish(repeat(ReplyLost("cut"), fails_with(second)))
        assert str(told.value) == str(second)


def test_what_only_reads_leaves_no_doubt() -> None:
    for first, second in ((ReplyLost("cut"), ReplyLost("cut again")), (ReplyLost(LATE), None)):
        request = answered if second is None else fails_with(second)
        with pytest.raises(NotSent) as told:
            finish(repeat(first, request, leaves_doubt=False))
        assert told.value.is_late is (second is None)


def test_what_is_not_sent_again_is_raised_as_it_was() -> None:
    for lost in (NotSent("refused"), ReplyLost("cut")):
        with pytest.raises(Lost) as told:
            finish(repeat(lost, answered, harmless=False))
        assert told.value is lost
