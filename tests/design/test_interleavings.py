"""The explorer itself: it tries every order and every crash, each once."""

from __future__ import annotations

from tests.design.interleavings import Process, orders


def writer(trace: list[str], name: str, steps: int) -> Process:
    for step in range(steps):
        trace.append(f"{name}{step}")
        yield


def two_writers() -> tuple[list[str], dict[str, Process]]:
    trace: list[str] = []
    return trace, {"a": writer(trace, "a", 2), "b": writer(trace, "b", 1)}


def test_every_order_of_the_steps_is_tried_once() -> None:
    traces = [tuple(trace) for trace, _ in orders(two_writers)]
    assert set(traces) == {("a0", "a1", "b0"), ("a0", "b0", "a1"), ("b0", "a0", "a1")}


def test_a_crash_strikes_before_each_step() -> None:
    traces = {tuple(trace) for trace, _ in orders(two_writers, crashes_max=1)}
    assert {("a0", "b0"), ("b0",), ("a0", "a1"), ("a0", "a1", "b0")} <= traces


def test_a_process_that_crashed_makes_no_further_step() -> None:
    ends = {tuple(taken) for _, taken in orders(two_writers, crashes_max=1) if "crash a" in taken}
    assert ends
    assert all(taken.count("crash a") == 1 and "a" not in taken[taken.index("crash a") :] for taken in ends)
