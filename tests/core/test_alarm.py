"""The thread that wakes for many: what rings, what does not, and when the thread is there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest

from sdpatterns.core.runtime.alarm import ALARM, Alarm

PATIENCE_S = 60.0


def until(holds: Callable[[], bool]) -> bool:
    """Whether it holds in the end."""
    end = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < end:
        time.sleep(0.001)
    return holds()


def alarms() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "sdpatterns-alarm"}


def test_a_bell_rings_once_and_not_before_its_time() -> None:
    alarm, rung, began = Alarm(), [], time.monotonic()
    alarm.put_on(lambda: rung.append(time.monotonic() - began), 0.02)
    assert until(lambda: bool(rung))
    time.sleep(0.03)
    assert len(rung) == 1
    assert rung[0] >= 0.02


def test_a_bell_that_was_taken_off_is_never_rung() -> None:
    alarm, rung = Alarm(), []

    def mine() -> None:
        rung.append("mine")

    alarm.put_on(mine, 0.4)
    alarm.put_on(lambda: rung.append("theirs"), 0.41)
    assert alarm.take_off(mine) is True
    assert until(lambda: bool(rung))
    assert rung == ["theirs"]
    assert alarm.take_off(mine) is False


def test_a_bell_that_is_due_before_all_others_does_not_wait_for_them() -> None:
    alarm, rung = Alarm(), []
    alarm.put_on(late := lambda: rung.append("late"), 60.0)
    time.sleep(0.005)  # so that the thread sleeps, and has to be woken
    alarm.put_on(lambda: rung.append("soon"), 0.01)
    assert until(lambda: bool(rung))
    assert rung == ["soon"]
    assert alarm.take_off(late)


def test_many_bells_share_one_thread_which_ends_when_none_is_left() -> None:
    others, rung, alarm = alarms(), [], Alarm()
    for number in range(100):
        alarm.put_on(lambda number=number: rung.append(number), 0.02 + number / 10_000)  # type: ignore[misc]
    assert len(alarms() - others) == 1
    assert until(lambda: len(rung) == 100)
    assert rung == list(range(100))
    assert until(lambda: not alarms() - others)
    alarm.put_on(lambda: rung.append("again"), 0.01)
    assert until(lambda: rung[-1] == "again"), "a thread that has ended begins again"


def test_without_a_thread_to_be_had_the_caller_is_told_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    alarm, rung = Alarm(), []

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def bell() -> None:
        rung.append(1)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError, match="new thread"):
            alarm.put_on(bell, 0.01)
    assert alarm.take_off(bell) is False
    alarm.put_on(bell, 0.01)
    assert until(lambda: bool(rung))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_has_no_bell_of_its_parents_and_a_thread_of_its_own() -> None:
    rung: list[str] = []
    ALARM.put_on(mine := lambda: rung.append("parent"), 0.4)
    child = os.fork()
    if child == 0:
        ALARM.put_on(lambda: rung.append("child"), 0.01)
        until(lambda: bool(rung))
        time.sleep(0.45)
        os._exit(0 if rung == ["child"] else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert until(lambda: bool(rung))
    assert rung == ["parent"]
    assert ALARM.take_off(mine) is False
