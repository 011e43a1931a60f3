"""Run small processes in every order, with a crash at every point: how `docs/design/ports.md` is checked.

A process is a generator. What it does between two `yield`s is one atomic step on a store. `orders`
runs the same processes once for each order of their steps; a process may also crash before any of its
steps, at most `crashes_max` times in one run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TypeAlias, TypeVar

__all__ = ["Process", "orders"]

Process: TypeAlias = Generator[None, None, None]
W = TypeVar("W")

_RUNS_MAX = 200_000


def orders(make: Callable[[], tuple[W, dict[str, Process]]], *, crashes_max: int = 0) -> Iterator[tuple[W, list[str]]]:
    """Each order in turn: the world as the processes left it, and the steps that led there."""
    prefix: list[int] = []
    for _ in range(_RUNS_MAX):
        world, processes = make()
        taken, choices = _run(processes, prefix, crashes_max)
        yield world, taken
        # Depth first: the last choice that has an alternative takes it, and all after it start again.
        while choices and choices[-1][0] + 1 == choices[-1][1]:
            choices.pop()
        if not choices:
            return
        prefix = [chosen for chosen, _ in choices[:-1]] + [choices[-1][0] + 1]
    raise AssertionError(f"more than {_RUNS_MAX} orders: make the processes smaller")


def _run(processes: dict[str, Process], prefix: list[int], crashes_max: int) -> tuple[list[str], list[tuple[int, int]]]:
    alive, taken, choices, crashes = dict(processes), [], [], 0
    while alive:
        moves = list(alive) + ([f"crash {name}" for name in alive] if crashes < crashes_max else [])
        chosen = prefix[len(choices)] if len(choices) < len(prefix) else 0
        choices.append((chosen, len(moves)))
        move = moves[chosen]
        taken.append(move)
        if move.startswith("crash "):
            crashes += 1
            alive.pop(move.removeprefix("crash ")).close()
        elif _has_ended(alive[move]):
            del alive[move]
    return taken, choices


def _has_ended(process: Process) -> bool:
    try:
        next(process)
    except StopIteration:
        return True
    return False
